"""Tables in the readmes that are made from the code: `python -m tests.docs.tables` writes them."""

from pathlib import Path

from marketplace.settings import SETTINGS, variable

ROOT = Path(__file__).parents[2]
HEADS = {"en": "| variable | default | meaning |", "zh": "| 变量 | 默认值 | 含义 |"}
READMES = {"en": "README.md", "zh": "README.zh.md"}


def settings_table(lang: str) -> str:
    rows = [HEADS[lang], "|---|---|---|"]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else ""
        rows.append(f"| `{variable(setting.name)}` | {default} | {getattr(setting, f'help_{lang}')} |")
    return "\n".join(rows)


def main() -> None:
    for lang, name in READMES.items():
        path = ROOT / name
        before, _, rest = path.read_text().partition("<!-- settings -->")
        after = rest.partition("<!-- /settings -->")[2]
        path.write_text(f"{before}<!-- settings -->\n{settings_table(lang)}\n<!-- /settings -->{after}")


if __name__ == "__main__":
    main()
