"""The model card that training writes beside the weights."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

from janus4o.train.codes import Codes
from janus4o.train.metrics import Metrics
from janus4o.train.presets import Settings


def write_card(
    settings: Settings, codes: Codes, base: str, step: int, steps: int, last: Metrics | None
) -> str:
    """README.md of a checkpoint.

    Args:
        base: what training started from.
        last: the newest metrics; its validation losses where it has some.
    """
    kinds = Counter("edit" if row.sources else "text-to-image" for row in codes.rows)
    rows = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items(), reverse=True))
    values = {k: v for k, v in asdict(settings).items() if v not in (None, (), [])}
    values["dropout"] = settings.dropout.model_dump()
    if settings.lora is not None:
        values["lora"] = settings.lora.model_dump()
    losses = []
    if last is not None:
        losses.append(f"| training, step {last.step} | {last.loss:.4f} |")
        losses += [f"| held out, {k} | {v:.4f} |" for k, v in sorted(last.validation.items())]
    table = (
        "\n".join(["| rows | nats a code |", "|---|---|", *losses]) if losses else "Not measured."
    )
    return f"""---
library_name: janus4o
pipeline_tag: text-to-image
tags: [janus, image-editing, text-to-image]
---

# A Janus fine-tuned for drawing and editing

Step {step:,} of {steps:,}, from `{base}`, with janus4o's preset `{settings.preset}`.

## Use

```
janus4o generate "a red circle" --model <this folder>
janus4o edit picture.png "make it blue" --model <this folder>
```

The folder also loads with transformers' `JanusForConditionalGeneration`. Pictures are brought to the
model's square by `{codes.fit}`.

## Data

{len(codes.rows):,} rows ({rows}); {codes.skipped:,} rows left out for unreadable pictures.
Digest of the data set: `{codes.digest}`. Picture tokenizer: `{codes.tokenizer}`.

## Training

```json
{json.dumps(values, indent=2, default=str)}
```

## Losses

{table}

## Scores

None are claimed here: `janus4o eval` measures them and keeps the evidence in the run's `scores/`.

## Limits

It draws what its training rows are like, at the picture size of its base, and inherits the base's
biases and terms. Who made the training pictures has terms too. People, text and counting are where
models of this family fail most. Do not use it to deceive.
"""
