"""The README's way from the published data set to an edited picture, on a tiny Janus-Pro."""

import shlex
import shutil

import numpy as np
import yaml
from PIL import Image

from janus4o.cli import app

from .conftest import write_data_set

SMALL = {
    "steps": 2, "batch": 2, "validation": 1, "validate_every": 2, "checkpoint_every": 2,
    "lora": {"rank": 2, "alpha": 4},
}  # fmt: skip


def lines_of(page):
    part = page.read_text("utf-8").partition("## With one GPU")[2].partition("\n## ")[0]
    return part.partition("```bash\n")[2].partition("```")[0].splitlines()


def test_the_readme_s_way_with_one_gpu(root, tmp_path, monkeypatch, official_folder):
    monkeypatch.chdir(tmp_path)
    write_data_set(tmp_path / "ShareGPT-4o-Image", 2, 3)
    made = yaml.safe_load((root / "recipes" / "24gb_lora.yaml").read_text("utf-8"))
    made["model"]["init"] = str(official_folder)
    made["train"] |= SMALL
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "24gb_lora.yaml").write_text(yaml.safe_dump(made))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")

    done = []
    for line in lines_of(root / "README.md"):
        words = shlex.split(line, comments=True)
        if words[0] != "janus4o":
            continue
        done.append(words[1])
        if words[1] == "edit":
            step = words[words.index("--model") + 1]
            # Steps of the real data set: one pass in batches of 128, less the rows held out.
            assert step.endswith(f"/{(45_717 + 46_539 - 256) // 128}")
            words[words.index("--model") + 1] = "runs/24gb_lora/checkpoints/2"
        if words[1] in ("train", "edit"):
            words += ["--device", "cpu"]
        assert app.main(words[1:]) == 0, line
    assert done == ["import", "plan", "encode", "train", "edit"]
    [picture] = (tmp_path / "edited").glob("*.png")
    with Image.open(picture) as edited:
        assert edited.size[0] == edited.size[1]
    adapter = tmp_path / "runs" / "24gb_lora" / "checkpoints" / "2" / "adapter"
    assert (adapter / "adapter_model.safetensors").is_file()
    shutil.rmtree(tmp_path / "runs")
