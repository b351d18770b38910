/* One step of decoding on a CPU: all layers of the language model for one new token of each row.
 *
 * A step of one picture reads every weight once and computes little with it, so it should take as long
 * as reading takes. So there is less to read, and nothing stands between one layer's reading and the
 * next's. What goes into a product is bfloat16, everything else between them float32.
 *
 * Weights take 12 bits and lose none of their 16: sign and mantissa are kept as they are (a byte), and the
 * exponent as its place in a window of fifteen that hold nearly all there are (half a byte, 0 for zero).
 * The few others are zero there, and stand in a list. Eight outputs lie together, so that a thread reads one
 * stream: of each 128 inputs 8 times 192 bytes, 128 signs and mantissas and 64 pairs of exponents.
 *
 * Every thread runs the same function; work is dealt out in tiles by atomic counters, and `barrier`
 * separates the phases. compact.py and compiled.py fill the structures and check the results.
 */
#include <immintrin.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>

#define LANES 16
#define TOGETHER 8  /* outputs that lie together */
#define GROUP 128   /* inputs that lie together */
#define BYTES 192   /* of a group */
#define MOST 32     /* rows */
#define LARGEST 128 /* outputs dealt out at once, at most */

typedef float F __attribute__((vector_size(4 * LANES)));
typedef uint32_t U __attribute__((vector_size(4 * LANES)));
typedef uint16_t H __attribute__((vector_size(2 * LANES)));
typedef F Fu __attribute__((aligned(4)));
typedef H Hu __attribute__((aligned(2)));
typedef uint16_t bf16;
typedef _Atomic int64_t Counter;

typedef struct {
    int64_t in, out, base; /* the exponent that 1 stands for */
    const uint8_t *blocks;
    const int32_t *first, *column; /* the list, by output: [out + 1] where each one's begin */
    const float *value;
} Weight;

typedef struct {
    const bf16 *norm, *mlp_norm;
    Weight q, k, v, out, gate, up, down;
    float *keys;         /* [R, key heads, capacity, W] */
    bf16 *values;        /* likewise */
    const float *shared_keys; /* [R / share, key heads, longest, W], or null */
    const bf16 *shared_values;
} Layer;

typedef struct {
    int64_t threads, layers, rows, hidden, inner, heads, key_heads, width;
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
    int64_t threads, rows;
    Weight weight;
    const bf16 *x, *bias;
    bf16 *y;
    Counter *counter; /* zero */
} Linear;

typedef struct {
    Weight weight;     /* what is read by `unpack` */
    bf16 *plain;       /* [out, in] */
    uint8_t *blocks;   /* what is written by `pack` */
    int32_t *row, *column;
    float *value;
    int64_t most;      /* that the list has room for */
    Counter *counters; /* [2 + 256], zero: tiles, listed, exponents */
} Packing;

static inline float widen(bf16 x) {
    union { uint32_t u; float f; } both = {(uint32_t)x << 16};
    return both.f;
}

/* What `widen` gave, back. */
static inline bf16 upper(float x) {
    union { float f; uint32_t u; } both = {x};
    return both.u >> 16;
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

static inline int64_t take(Counter *counter, int64_t many) {
    return atomic_fetch_add_explicit(counter, many, memory_order_relaxed);
}

/* Outputs to be dealt out at once: long stretches, but several for each thread. */
static inline int64_t share(int64_t outs, int64_t threads) {
    int64_t fair = outs / (8 * threads) / TOGETHER * TOGETHER;
    return fair < TOGETHER ? TOGETHER : fair > LARGEST ? LARGEST : fair;
}

static inline int64_t groups(int64_t in) { return (in + GROUP - 1) / GROUP; }

static inline const uint8_t *tile(const Weight *w, int64_t output) {
    return w->blocks + output * groups(w->in) * BYTES;
}

/* Upper seven and lowest bit of the exponents that 0 to 15 stand for, where a bfloat16 has them. */
typedef struct { __m512i upper, lowest; } Window;

static inline Window window(int64_t base) {
    const __m128i place = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i exponent = _mm_add_epi8(place, _mm_set1_epi8((char)(base - 1)));
    exponent = _mm_andnot_si128(_mm_cmpeq_epi8(place, _mm_setzero_si128()), exponent);
    __m128i upper = _mm_and_si128(_mm_srli_epi16(exponent, 1), _mm_set1_epi8(0x7f));
    __m128i lowest = _mm_and_si128(_mm_slli_epi16(exponent, 7), _mm_set1_epi8((char)0x80));
    return (Window){_mm512_broadcast_i32x4(upper), _mm512_broadcast_i32x4(lowest)};
}

/* The first or second 64 weights of a group, 32 in each half. */
typedef struct { __m512i low, high; } Pair;

static inline __attribute__((always_inline)) Pair decode(
    const uint8_t *at, const int second, Window window) {
    const __m512i sign = _mm512_set1_epi8((char)0x80), half = _mm512_set1_epi8(15);
    __m512i places = _mm512_loadu_si512(at + GROUP), kept = _mm512_loadu_si512(at + 64 * second);
    if (second) places = _mm512_srli_epi16(places, 4);
    places = _mm512_and_si512(places, half);
    __m512i upper = _mm512_shuffle_epi8(window.upper, places);
    __m512i lowest = _mm512_shuffle_epi8(window.lowest, places);
    upper = _mm512_ternarylogic_epi64(kept, sign, upper, 0xea);   /* (kept & sign) | upper */
    lowest = _mm512_ternarylogic_epi64(kept, sign, lowest, 0xba); /* (kept & ~sign) | lowest */
    return (Pair){_mm512_unpacklo_epi8(lowest, upper), _mm512_unpackhi_epi8(lowest, upper)};
}

/* Adds to the sums what `live` times 32 inputs of one group give. */
static inline __attribute__((always_inline)) void add_group(
    const int R, const int live, __m512 sums[TOGETHER][R], const uint8_t *w, Window window,
    const bf16 *x, int64_t in) {
#pragma GCC unroll 8
    for (int o = 0; o < TOGETHER; o++)
#pragma GCC unroll 8
        for (int second = 0; second < 2; second++) {
            if (2 * second >= live) break;
            Pair weights = decode(w + o * BYTES, second, window);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) {
                const bf16 *at = x + r * in + 64 * second;
                sums[o][r] = _mm512_dpbf16_ps(
                    sums[o][r], (__m512bh)weights.low, (__m512bh)_mm512_loadu_si512(at));
                if (2 * second + 1 < live)
                    sums[o][r] = _mm512_dpbf16_ps(
                        sums[o][r], (__m512bh)weights.high, (__m512bh)_mm512_loadu_si512(at + 32));
            }
        }
}

/* y[o, r] = x[r] . w[o] for TOGETHER outputs and R rows of x; y has `rows`. */
static inline __attribute__((always_inline)) void block(
    const int R, const uint8_t *w, Window window, const bf16 *x, int64_t in, float *y,
    int64_t rows) {
    __m512 sums[TOGETHER][R];
#pragma GCC unroll 8
    for (int o = 0; o < TOGETHER; o++)
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) sums[o][r] = _mm512_setzero_ps();
    int64_t k = 0;
    for (; k + GROUP <= in; k += GROUP, w += TOGETHER * BYTES)
        add_group(R, 4, sums, w, window, x + k, in);
    if (k + 96 == in) add_group(R, 3, sums, w, window, x + k, in);
    if (k + 64 == in) add_group(R, 2, sums, w, window, x + k, in);
    if (k + 32 == in) add_group(R, 1, sums, w, window, x + k, in);
#pragma GCC unroll 8
    for (int o = 0; o < TOGETHER; o++)
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) y[o * rows + r] = _mm512_reduce_add_ps(sums[o][r]);
}

/* `live` times 32 weights of a group of TOGETHER outputs, those of the list apart, to rows of `in`. */
static inline __attribute__((always_inline)) void decode_group(
    const int live, const uint8_t *w, Window window, bf16 *plain, int64_t in) {
    for (int64_t o = 0; o < TOGETHER; o++, w += BYTES, plain += in)
#pragma GCC unroll 2
        for (int second = 0; second < 2; second++) {
            if (2 * second >= live) break;
            const Pair found = decode(w, second, window);
            _mm512_storeu_si512(plain + 64 * second, found.low);
            if (2 * second + 1 < live) _mm512_storeu_si512(plain + 64 * second + 32, found.high);
        }
}

/* y[o, r] of the TOGETHER outputs from `output` on; what was read for some rows is near for the next. */
static void dots(int64_t rows, const Weight *weight, int64_t output, const bf16 *x, float *y) {
    const int64_t in = weight->in;
    const uint8_t *w = tile(weight, output);
    const Window seen = window(weight->base);
    for (int64_t left = rows; left > 0;) {
        const bf16 *from = x + (rows - left) * in;
        float *to = y + rows - left;
        if (left == 1) block(1, w, seen, from, in, to, rows), left -= 1;
        else if (left == 2 || left == 4) block(2, w, seen, from, in, to, rows), left -= 2;
        else block(3, w, seen, from, in, to, rows), left -= 3;
    }
    for (int64_t o = 0; o < TOGETHER; o++)
        for (int64_t i = weight->first[output + o]; i < weight->first[output + o + 1]; i++)
            for (int64_t r = 0; r < rows; r++)
                y[o * rows + r] += weight->value[i] * widen(x[r * in + weight->column[i]]);
}

/* Counts how often each exponent occurs. */
void survey(Packing *p) {
    const int64_t in = p->weight.in;
    int64_t found[4][256] = {0}; /* neighbours are mostly alike, and one counter would wait for itself */
    for (int64_t start; (start = take(p->counters, LARGEST)) < p->weight.out;)
        for (int64_t o = start; o < start + LARGEST && o < p->weight.out; o++)
            for (int64_t k = 0; k < in; k++) found[k & 3][p->plain[o * in + k] >> 7 & 255]++;
    for (int i = 0; i < 256; i++)
        take(p->counters + 2 + i, found[0][i] + found[1][i] + found[2][i] + found[3][i]);
}

/* 32 weights of output o from input k on: signs and mantissas in words, places of exponents in `places`; others are listed. */
static inline __m512i apart(Packing *p, int64_t o, int64_t k, __m512i *places) {
    const int64_t in = p->weight.in;
    if (k >= in) return *places = _mm512_setzero_si512();
    const __m512i one = _mm512_set1_epi16(1), sign = _mm512_set1_epi16(0x80);
    const __m512i plain = _mm512_loadu_si512(p->plain + o * in + k);
    const __m512i exponent = _mm512_and_si512(_mm512_srli_epi16(plain, 7), _mm512_set1_epi16(255));
    __m512i place = _mm512_sub_epi16(exponent, _mm512_set1_epi16(p->weight.base - 1));
    const __mmask32 has_place
        = _mm512_cmplt_epu16_mask(_mm512_sub_epi16(place, one), _mm512_set1_epi16(15));
    __m512i kept = _mm512_and_si512(_mm512_srli_epi16(plain, 8), sign);
    const __m512i mantissa = _mm512_maskz_mov_epi16(has_place, _mm512_set1_epi16(0x7f));
    kept = _mm512_or_si512(kept, _mm512_and_si512(plain, mantissa));
    *places = _mm512_maskz_mov_epi16(has_place, place);
    __mmask32 others = ~has_place & _mm512_test_epi16_mask(plain, _mm512_set1_epi16(0x7fff));
    for (; others; others &= others - 1) {
        const int64_t at = k + __builtin_ctz(others), listed = take(p->counters + 1, 1);
        if (listed < p->most) {
            p->row[listed] = o;
            p->column[listed] = at;
            p->value[listed] = widen(p->plain[o * in + at]);
        }
    }
    return kept;
}

void pack(Packing *p) {
    const int64_t in = p->weight.in;
    for (int64_t start; (start = take(p->counters, TOGETHER)) < p->weight.out;) {
        uint8_t *at = p->blocks + start * groups(in) * BYTES;
        for (int64_t k = 0; k < in; k += GROUP)
            for (int64_t o = start; o < start + TOGETHER; o++, at += BYTES) {
                __m512i pairs = _mm512_setzero_si512();
                for (int second = 0; second < 2; second++) {
                    __m512i low_place, high_place;
                    const __m512i low = apart(p, o, k + 64 * second, &low_place);
                    const __m512i high = apart(p, o, k + 64 * second + 32, &high_place);
                    /* In the order that `decode` undoes. */
                    _mm512_storeu_si512(at + 64 * second, _mm512_packus_epi16(low, high));
                    const __m512i places = _mm512_packus_epi16(low_place, high_place);
                    pairs = _mm512_or_si512(pairs, second ? _mm512_slli_epi16(places, 4) : places);
                }
                _mm512_storeu_si512(at + GROUP, pairs);
            }
    }
}

void unpack(Packing *p) {
    const Weight *weight = &p->weight;
    const int64_t in = weight->in;
    const Window seen = window(weight->base);
    for (int64_t start; (start = take(p->counters, TOGETHER)) < weight->out;) {
        const uint8_t *w = tile(weight, start);
        bf16 *plain = p->plain + start * in;
        int64_t k = 0;
        for (; k + GROUP <= in; k += GROUP, w += TOGETHER * BYTES)
            decode_group(4, w, seen, plain + k, in);
        if (k + 96 == in) decode_group(3, w, seen, plain + k, in);
        if (k + 64 == in) decode_group(2, w, seen, plain + k, in);
        if (k + 32 == in) decode_group(1, w, seen, plain + k, in);
        for (int64_t o = start; o < start + TOGETHER; o++)
            for (int64_t i = weight->first[o]; i < weight->first[o + 1]; i++)
                p->plain[o * in + weight->column[i]] = upper(weight->value[i]);
    }
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
    const int64_t outs = queries + 2 * keys, rows = s->rows, many = share(outs, s->threads);
    float y[TOGETHER * MOST];
    for (int64_t start; (start = take(counter, many)) < outs;)
        for (int64_t o = start; o < start + many && o < outs; o += TOGETHER) {
            if (o < queries) dots(rows, &layer->q, o, x, y);
            else if (o < queries + keys) dots(rows, &layer->k, o - queries, x, y);
            else dots(rows, &layer->v, o - queries - keys, x, y);
            for (int64_t i = 0; i < TOGETHER; i++)
                for (int64_t r = 0; r < rows; r++)
                    s->projected[r * outs + o + i] = y[i * rows + r];
        }
}

static void gate(const Step *s, const Layer *layer, const bf16 *x, Counter *counter) {
    const int64_t rows = s->rows, many = share(s->inner, s->threads);
    float gates[LARGEST * MOST], ups[TOGETHER * MOST];
    for (int64_t start; (start = take(counter, many)) < s->inner;) {
        const int64_t end = start + many < s->inner ? start + many : s->inner;
        for (int64_t o = start; o < end; o += TOGETHER)
            dots(rows, &layer->gate, o, x, gates + (o - start) * rows);
        for (int64_t o = start; o < end; o += TOGETHER) {
            dots(rows, &layer->up, o, x, ups);
            for (int64_t i = 0; i < TOGETHER; i++)
                for (int64_t r = 0; r < rows; r++) {
                    const float g = gates[(o - start + i) * rows + r];
                    s->gated[r * s->inner + o + i]
                        = narrow(g / (1 + expf(-g)) * ups[i * rows + r]);
                }
        }
    }
}

static void add(const Step *s, const Weight *weight, const bf16 *x, Counter *counter) {
    const int64_t rows = s->rows, many = share(s->hidden, s->threads);
    float y[TOGETHER * MOST];
    for (int64_t start; (start = take(counter, many)) < s->hidden;)
        for (int64_t o = start; o < start + many && o < s->hidden; o += TOGETHER) {
            dots(rows, weight, o, x, y);
            for (int64_t i = 0; i < TOGETHER; i++)
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
        add(s, &layer->out, s->attended, counter + 2);
        s->barrier();
        normalise(s, layer->mlp_norm, x);
        gate(s, layer, x, counter + 3);
        s->barrier();
        add(s, &layer->down, s->gated, counter + 4);
        s->barrier();
    }
    if (me == 0) normalise(s, s->norm, s->output);
}

void linear(Linear *l) {
    const int64_t rows = l->rows, outs = l->weight.out, many = share(outs, l->threads);
    float y[TOGETHER * MOST];
    for (int64_t start; (start = take(l->counter, many)) < outs;)
        for (int64_t o = start; o < start + many && o < outs; o += TOGETHER) {
            dots(rows, &l->weight, o, l->x, y);
            for (int64_t i = 0; i < TOGETHER; i++)
                for (int64_t r = 0; r < rows; r++)
                    l->y[r * outs + o + i]
                        = narrow(y[i * rows + r] + (l->bias ? widen(l->bias[o + i]) : 0));
        }
}
