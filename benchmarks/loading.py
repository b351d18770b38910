"""How much memory loading a checkpoint takes, and how long: `python benchmarks/loading.py`.

Random checkpoints of the 1B shape with fewer layers (--megabytes) are written in both formats, as
safetensors and as .bin, and each is loaded in its own dtype by a process of its own. The peak is the
highest resident memory of that process while it loads, less what it had before, over the size of the
weights. transformers' own loading of the same folder stands beside ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROBE = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import torch
from janus4o.model.loading import load_model
from transformers import JanusForConditionalGeneration
from transformers.utils import logging
logging.set_verbosity(50); logging.disable_progress_bar()

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

small, folder, who = sys.argv[1:]
def load(where):
    if who == "janus4o":
        return load_model(where, None).network
    return JanusForConditionalGeneration.from_pretrained(where, dtype="auto")
load(small)
open("/proc/self/clear_refs", "w").write("5")
before, start = status("VmRSS"), time.perf_counter()
network = load(folder)
seconds = time.perf_counter() - start
with torch.no_grad():
    for parameter in network.parameters():
        parameter.view(-1)[::512].sum()  # mapped weights count once they are used
print(json.dumps({"peak": status("VmHWM") - before, "seconds": seconds}))
"""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--megabytes", type=int, default=500, help="about, of bfloat16 weights")
    asked.add_argument("--rounds", type=int, default=3)
    options = asked.parse_args()

    import torch
    from safetensors.torch import load_file

    from janus4o.model.loading import TinyConfig, new_model, save_model

    # A layer of the 1B shape has 51.4 million weights, 103 MB in bfloat16.
    layers = max(1, round((options.megabytes - 90) / 103))
    sizes = TinyConfig(
        hidden=2048, layers=layers, heads=16, mlp=5632, vision_hidden=256, vision_layers=2, vq_codes=16384
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        save_model(new_model(["a"]), root / "small")
        model = new_model(["a"], sizes)
        save_model(model, root / "transformers", torch.bfloat16)
        save_model(model, root / "official", torch.bfloat16, format="official")
        save_model(model, root / "official-bin", torch.bfloat16, format="official")
        del model
        weights = root / "official-bin" / "model.safetensors"
        torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
        weights.unlink()
        size = (root / "transformers" / "model.safetensors").stat().st_size
        print(f"{size / 1e6:.0f} MB of bfloat16 weights, {options.rounds} rounds")
        print(f"{'checkpoint':<14} {'loader':<14} {'peak / size':>11} {'seconds':>8}")
        cases = [(name, "janus4o") for name in ("transformers", "official", "official-bin")]
        for name, who in [*cases, ("transformers", "transformers")]:
            found = []
            for _ in range(options.rounds):
                words = [sys.executable, "-c", PROBE, str(root / "small"), str(root / name), who]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
            peak = max(one["peak"] for one in found) / size
            seconds = statistics.median(one["seconds"] for one in found)
            print(f"{name:<14} {who:<14} {peak:>11.3f} {seconds:>8.2f}")


if __name__ == "__main__":
    main()
