/* One step of decoding on a CPU: all layers of the language model for one new token of each row.
 *
 * A step of one picture reads every weight once and computes little with it, so it should take as long
 * as reading takes. Here nothing stands between one layer's reading and the next's. Weights are read as
 * they are stored (bfloat16, [out, in]), eight outputs at a time: eight streams keep more of the memory
 * busy than one. What goes into a product is bfloat16, everything else between them float32.
 *
 * Every thread runs `layers_step` or `linear`; work is dealt out in tiles by atomic counters, and
 * `barrier` separates the phases. compiled.py fills the structures and checks the result.
 */
#include <immintrin.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>

#define LANES 16
#define STREAMS 8 /* outputs computed together */
#define TILE 16   /* outputs dealt out at once */
#define MOST 8    /* rows */

typedef float F __attribute__((vector_size(4 * LANES)));
typedef uint32_t U __attribute__((vector_size(4 * LANES)));
typedef uint16_t H __attribute__((vector_size(2 * LANES)));
typedef F Fu __attribute__((aligned(4)));
typedef H Hu __attribute__((aligned(2)));
typedef uint16_t bf16;
typedef _Atomic int64_t Counter;

typedef struct {
    const bf16 *norm, *q, *k, *v, *out, *mlp_norm, *gate, *up, *down;
    float *keys;         /* [R, key heads, capacity, W] */
    bf16 *values;        /* likewise */
    const float *shared_keys; /* [R / share, key heads, longest, W], or null */
    const bf16 *shared_values;
} Layer;

typedef struct {
    int64_t layers, rows, hidden, inner, heads, key_heads, width;
    int64_t share, longest, start, filled, capacity;
    float epsilon;
    const int64_t *lengths; /* of the rows' prompts */
    const float *cosines, *sines; /* [R, W], of this step; sines signed */
    const bf16 *norm;       /* the last one */
    const Layer *layer;
    const bf16 *input;      /* [R, hidden] */
    bf16 *output;           /* likewise */
    float *stream;          /* [R, hidden] */
    float *projected;       /* [R, (heads + 2 key heads) * W] */
    bf16 *attended;         /* [R, heads * W] */
    bf16 *gated;            /* [R, inner] */
    bf16 *own;              /* [threads, R * hidden] */
    float *scores;          /* [threads, capacity + longest + LANES] */
    Counter *counters;      /* [5 * layers + 1], zero */
    void (*barrier)(void);
} Step;

typedef struct {
    int64_t rows, in, out;
    const bf16 *x, *weight, *bias;
    bf16 *y;
    Counter *counter; /* zero */
} Linear;

static inline float widen(bf16 x) {
    union { uint32_t u; float f; } both = {(uint32_t)x << 16};
    return both.f;
}

static inline bf16 narrow(float x) {
    union { float f; uint32_t u; } both = {x};
    if (x != x) return 0x7fc0;
    return (both.u + 0x7fff + ((both.u >> 16) & 1)) >> 16;
}

static inline F widen_16(const bf16 *at) {
    return (F)(__builtin_convertvector(*(const Hu *)at, U) << 16);
}

static inline float total(F v) {
    return _mm512_reduce_add_ps((__m512)v);
}

/* y[o, r] = x[r] . w[o] for O rows of the weights and R rows of x. */
static inline __attribute__((always_inline)) void block(
    const int O, const int R, const bf16 *w, const bf16 *x, int64_t in, float *y) {
    __m512 sums[O][R];
    for (int o = 0; o < O; o++)
        for (int r = 0; r < R; r++) sums[o][r] = _mm512_setzero_ps();
    for (int64_t k = 0; k < in; k += 2 * LANES) {
        __m512bh left[R];
        for (int r = 0; r < R; r++) left[r] = (__m512bh)_mm512_loadu_si512(x + r * in + k);
        for (int o = 0; o < O; o++) {
            __m512bh right = (__m512bh)_mm512_loadu_si512(w + o * in + k);
            for (int r = 0; r < R; r++) sums[o][r] = _mm512_dpbf16_ps(sums[o][r], right, left[r]);
        }
    }
    for (int o = 0; o < O; o++)
        for (int r = 0; r < R; r++) y[o * R + r] = _mm512_reduce_add_ps(sums[o][r]);
}

/* Of STREAMS rows of the weights: y[o, r] in order. As many sums as there are registers for. */
static void dots(int64_t rows, const bf16 *w, const bf16 *x, int64_t in, float *y) {
#define CASE(R, O)                                                                                 \
    case R:                                                                                        \
        for (int o = 0; o < STREAMS; o += O) block(O, R, w + o * in, x, in, y + o * R);            \
        break;
    switch (rows) {
        CASE(1, 8)
        CASE(2, 8)
        CASE(3, 8)
        CASE(4, 4)
        CASE(5, 4)
        CASE(6, 4)
        CASE(7, 2)
        CASE(8, 2)
    }
}

static inline int64_t take(Counter *counter, int64_t many) {
    return atomic_fetch_add_explicit(counter, many, memory_order_relaxed);
}

/* Root-mean-square norm of all rows; every thread makes its own. */
static void normalise(const Step *s, const bf16 *weight, bf16 *out) {
    for (int64_t r = 0; r < s->rows; r++) {
        const float *x = s->stream + r * s->hidden;
        F squares = {0};
        for (int64_t d = 0; d < s->hidden; d += LANES) {
            F part = *(const Fu *)(x + d);
            squares += part * part;
        }
        float scale = 1 / sqrtf(total(squares) / s->hidden + s->epsilon);
        for (int64_t d = 0; d < s->hidden; d++)
            out[r * s->hidden + d] = narrow(x[d] * scale * widen(weight[d]));
    }
}

/* e^x for x <= 0, to a few units in the last place. */
static inline F exponential(F x) {
    const F least = (F){0} - 87.0f;
    U under = (U)(x < least);
    x = (F)(((U)x & ~under) | ((U)least & under));
    F scaled = x * 1.44269504f, shifted = scaled + 12582912.0f; /* rounds to whole numbers */
    F whole = shifted - 12582912.0f, rest = x - whole * 0.693145752f;
    rest -= whole * 1.42860677e-6f;
    F y = (F){0} + 1.98756915e-4f;
    y = y * rest + 1.39819995e-3f;
    y = y * rest + 8.33345191e-3f;
    y = y * rest + 4.16657959e-2f;
    y = y * rest + 1.66666655e-1f;
    y = y * rest + 5.00000012e-1f;
    y = y * rest * rest + rest + 1.0f;
    return (F)((U)y + (((U)shifted) << 23));
}

typedef struct {
    const float *keys;
    const bf16 *values;
    int64_t count;
} Stretch;

/* One key head of one row: writes its new key and value, then its queries attend to all there are. */
static void attend(const Step *s, const Layer *layer, int64_t row, int64_t head, float *scores) {
    const int64_t W = s->width, half = W / 2, group = s->heads / s->key_heads;
    const int64_t at = (row * s->key_heads + head) * s->capacity, end = s->start + s->filled;
    const float *cosines = s->cosines + row * W, *sines = s->sines + row * W;
    const float *mine = s->projected + row * (s->heads + 2 * s->key_heads) * W;
    const float *key = mine + (s->heads + head) * W;
    const float *value = mine + (s->heads + s->key_heads + head) * W;
    float *new_key = layer->keys + (at + end) * W;
    bf16 *new_value = layer->values + (at + end) * W;
    for (int64_t i = 0; i < W; i++) {
        new_key[i] = key[i] * cosines[i] + key[i < half ? i + half : i - half] * sines[i];
        new_value[i] = narrow(value[i]);
    }
    Stretch stretches[2] = {
        {layer->keys + at * W, layer->values + at * W, s->lengths[row]},
        {layer->keys + (at + s->start) * W, layer->values + (at + s->start) * W, s->filled + 1},
    };
    if (s->share > 1) {
        const int64_t there = (row / s->share * s->key_heads + head) * s->longest * W;
        stretches[0].keys = layer->shared_keys + there;
        stretches[0].values = layer->shared_values + there;
    }
    const int64_t count = stretches[0].count + stretches[1].count;
    const float scale = 1 / sqrtf(W);
    for (int64_t g = 0; g < group; g++) {
        const float *query = mine + (head * group + g) * W;
        F turned[W / LANES], read[W / LANES];
        for (int64_t i = 0; i < W; i++)
            ((float *)turned)[i] = scale
                * (query[i] * cosines[i] + query[i < half ? i + half : i - half] * sines[i]);
        float highest = -INFINITY, *score = scores;
        for (int part = 0; part < 2; part++) {
            const float *keys = stretches[part].keys;
            for (int64_t t = 0; t < stretches[part].count; t++, keys += W) {
                F sum = {0};
                for (int64_t i = 0; i < W / LANES; i++)
                    sum += turned[i] * *(const Fu *)(keys + i * LANES);
                *score = total(sum);
                highest = *score > highest ? *score : highest;
                score++;
            }
        }
        for (int64_t t = 0; t < count; t += LANES)
            *(Fu *)(scores + t) = exponential(*(Fu *)(scores + t) - highest);
        F sums = {0};
        for (int64_t t = 0; t + LANES <= count; t += LANES) sums += *(Fu *)(scores + t);
        float sum = total(sums);
        for (int64_t t = count / LANES * LANES; t < count; t++) sum += scores[t];
        for (int64_t i = 0; i < W / LANES; i++) read[i] = (F){0};
        score = scores;
        for (int part = 0; part < 2; part++) {
            const bf16 *values = stretches[part].values;
            for (int64_t t = 0; t < stretches[part].count; t++, values += W, score++)
                for (int64_t i = 0; i < W / LANES; i++)
                    read[i] += widen_16(values + i * LANES) * *score;
        }
        bf16 *out = s->attended + row * s->heads * W;
        for (int64_t i = 0; i < W; i++)
            out[(head * group + g) * W + i] = narrow(((float *)read)[i] / sum);
    }
}

static void project(const Step *s, const Layer *layer, const bf16 *x, Counter *counter) {
    const int64_t queries = s->heads * s->width, keys = s->key_heads * s->width;
    const int64_t outs = queries + 2 * keys, rows = s->rows;
    float y[STREAMS * MOST];
    for (int64_t start; (start = take(counter, TILE)) < outs;)
        for (int64_t o = start; o < start + TILE && o < outs; o += STREAMS) {
            const bf16 *w = o < queries ? layer->q + o * s->hidden
                : o < queries + keys ? layer->k + (o - queries) * s->hidden
                                     : layer->v + (o - queries - keys) * s->hidden;
            dots(rows, w, x, s->hidden, y);
            for (int64_t i = 0; i < STREAMS; i++)
                for (int64_t r = 0; r < rows; r++)
                    s->projected[r * outs + o + i] = y[i * rows + r];
        }
}

static void gate(const Step *s, const Layer *layer, const bf16 *x, Counter *counter) {
    const int64_t rows = s->rows;
    float gates[STREAMS * MOST], ups[STREAMS * MOST];
    for (int64_t o; (o = take(counter, STREAMS)) < s->inner;) {
        dots(rows, layer->gate + o * s->hidden, x, s->hidden, gates);
        dots(rows, layer->up + o * s->hidden, x, s->hidden, ups);
        for (int64_t i = 0; i < STREAMS; i++)
            for (int64_t r = 0; r < rows; r++) {
                const float g = gates[i * rows + r];
                s->gated[r * s->inner + o + i] = narrow(g / (1 + expf(-g)) * ups[i * rows + r]);
            }
    }
}

static void add(const Step *s, const bf16 *weight, const bf16 *x, int64_t in, Counter *counter) {
    const int64_t rows = s->rows;
    float y[STREAMS * MOST];
    for (int64_t start; (start = take(counter, TILE)) < s->hidden;)
        for (int64_t o = start; o < start + TILE && o < s->hidden; o += STREAMS) {
            dots(rows, weight + o * in, x, in, y);
            for (int64_t i = 0; i < STREAMS; i++)
                for (int64_t r = 0; r < rows; r++)
                    s->stream[r * s->hidden + o + i] += y[i * rows + r];
        }
}

void layers_step(Step *s) {
    Counter *counter = s->counters;
    const int64_t me = take(counter++, 1), size = s->rows * s->hidden;
    bf16 *x = s->own + me * size;
    float *scores = s->scores + me * (s->capacity + s->longest + LANES);
    if (me == 0)
        for (int64_t i = 0; i < size; i++) s->stream[i] = widen(s->input[i]);
    s->barrier();
    for (const Layer *layer = s->layer; layer < s->layer + s->layers; layer++, counter += 5) {
        normalise(s, layer->norm, x);
        project(s, layer, x, counter);
        s->barrier();
        for (int64_t i; (i = take(counter + 1, 1)) < s->rows * s->key_heads;)
            attend(s, layer, i / s->key_heads, i % s->key_heads, scores);
        s->barrier();
        add(s, layer->out, s->attended, s->heads * s->width, counter + 2);
        s->barrier();
        normalise(s, layer->mlp_norm, x);
        gate(s, layer, x, counter + 3);
        s->barrier();
        add(s, layer->down, s->gated, s->inner, counter + 4);
        s->barrier();
    }
    if (me == 0) normalise(s, s->norm, s->output);
}

void linear(Linear *l) {
    const int64_t rows = l->rows;
    float y[STREAMS * MOST];
    for (int64_t start; (start = take(l->counter, TILE)) < l->out;)
        for (int64_t o = start; o < start + TILE && o < l->out; o += STREAMS) {
            dots(rows, l->weight + o * l->in, l->x, l->in, y);
            for (int64_t i = 0; i < STREAMS; i++)
                for (int64_t r = 0; r < rows; r++)
                    l->y[r * l->out + o + i]
                        = narrow(y[i * rows + r] + (l->bias ? widen(l->bias[o + i]) : 0));
        }
}
