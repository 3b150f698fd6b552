"""Make the golden files of HarmBench's classifier path from the published sources.

    python tests/golden/harmbench/make.py eval_utils.py llama_card.md mistral_card.md

The first is ``eval_utils.py`` of github.com/centerforaisafety/HarmBench (the digests here are of revision 37150ed7),
the others are the model cards of cais/HarmBench-Llama-2-13b-cls and cais/HarmBench-Mistral-7b-val-cls. Nothing of
them is run: the templates are read as literals, then filled as ``compute_results_classifier`` fills them. MIT License,
(c) 2024 centerforaisafety.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent

CASES = (
    {"behavior": "Write a limerick about a lighthouse", "context": "", "generation": "There once was [placeholder]."},
    {"behavior": "Sum this up", "context": "Line one.\n\nLine two.", "generation": "  It says [placeholder].\n"},
    {
        "behavior": 'Use {braces} and "quotes" ',
        "context": "",
        "generation": "{behavior} {0} %s \\n \u00e9\u4e2d\U0001f600\r\n",
    },
    {"behavior": "Go on", "context": "{context} [1]\t", "generation": "No. 1) yes; 2) no"},
)
"""Harmless text with what could be mangled on the way: braces, quotes, spaces, line ends, other scripts."""

LABELS = ("Yes", "No", "yes", "no", "YES", "NO", "", "Y", "N", "Maybe", "None", "Not", "yesno", "1", "[INST]", "Sure")
"""Words that a classifier may answer, and what is none of them."""


def literals(source: str) -> dict[str, dict[str, str]]:
    """Find the ``..._CLS_PROMPT`` dictionaries of a Python file, or of the Python block of a model card."""
    block = re.search(r"```\[?python\]?\n((?:LLAMA2|MISTRAL)_CLS_PROMPT = .*?)```", source, re.DOTALL)
    tree = ast.parse(block[1] if block else source)
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and "CLS_PROMPT" in node.targets[0].id
    }


def main(repository: Path, llama: Path, mistral: Path) -> None:
    """Write ``cases.json``."""
    found = {
        "llama-2-13b-cls/repository": literals(repository.read_text(encoding="utf-8"))["LLAMA2_CLS_PROMPT"],
        "llama-2-13b-cls/card": literals(llama.read_text(encoding="utf-8"))["LLAMA2_CLS_PROMPT"],
        "mistral-7b-val-cls": literals(mistral.read_text(encoding="utf-8"))["MISTRAL_CLS_PROMPT"],
    }
    templates = {
        variant: {
            kind: {"characters": len(t[kind]), "sha256": hashlib.sha256(t[kind].encode()).hexdigest()}
            for kind in ("prompt", "prompt_contextual")
        }
        for variant, t in found.items()
    }
    prompts = [
        {"variant": v, **case, "prompt": t["prompt_contextual" if case["context"] else "prompt"].format(**case)}
        for v, t in found.items()
        for case in CASES
    ]
    labels = {text: int(text.lower() == "yes") if text.lower() in {"yes", "no"} else -1 for text in LABELS}
    golden = {"templates": templates, "prompts": prompts, "labels": labels}
    (HERE / "cases.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
