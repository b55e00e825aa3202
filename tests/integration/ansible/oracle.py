"""What the real ansible-core makes of expressions; runs in its own environment, prints JSON.

`make ansible` installs it: ``.venv/ansible/bin/python oracle.py FOLDER CASES.json``.
"""

import json
import os
import sys
from pathlib import Path

os.environ["ANSIBLE_DEPRECATION_WARNINGS"] = "0"
os.environ["ANSIBLE_LOCALHOST_WARNING"] = "0"

from ansible.parsing.dataloader import DataLoader
from ansible.parsing.splitter import parse_kv
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.utils.display import Display


def plain(value):
    """JSON keeps everything but dates and keys that are no text."""
    if isinstance(value, dict):
        return {"mapping": [[plain(key), plain(each)] for key, each in value.items()]}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(type(value))


def attempt(work, text):
    try:
        return {"value": plain(work(text))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def main(folder, cases_path):
    init_plugin_loader()
    Display().warning = Display().deprecated = lambda *args, **kwargs: None
    loader = DataLoader()
    loader.set_basedir(folder)
    variables = loader.load_from_file(f"{folder}/variables.yml", trusted_as_template=True)
    templar = Templar(loader=loader, variables=variables)

    def template(text):
        files = templar.copy_with_new_env(
            searchpath=[f"{folder}/templates", folder], available_variables=variables
        )
        overrides = {"trim_blocks": True, "lstrip_blocks": False, "newline_sequence": "\n"}
        found = files.template(
            trust_as_template(text), escape_backslashes=False, overrides=overrides
        )
        return "" if found is None else str(found)

    def extra(text):
        if text[0] in "{[":
            given = loader.load(trust_as_template(text))
        else:
            given = parse_kv(trust_as_template(text))
        if "_raw_params" in given:
            raise ValueError("a word without '='")
        return templar.template(given)

    def condition(text):
        return templar.evaluate_conditional(trust_as_template(text))

    def value(text):
        return templar.template(trust_as_template(text))

    works = {"values": value, "templates": template, "conditions": condition, "extra": extra}
    cases = json.loads(Path(cases_path).read_text())
    print(
        json.dumps(
            {kind: [attempt(works[kind], text) for text in texts] for kind, texts in cases.items()}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
