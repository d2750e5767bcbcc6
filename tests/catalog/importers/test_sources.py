import pytest

from catalog.importers.errors import SourceUnknown
from catalog.importers.sources import read_sources, slug


@pytest.mark.parametrize(
    ("text", "kind", "place", "revision", "inner", "name"),
    [
        ("hf://org/Repo", "hf", "org/Repo", "", "", "repo"),
        ("hf://org/repo@refs%2Fpr%2F1/onnx", "hf", "org/repo", "refs/pr/1", "onnx", "repo"),
        ("modelscope://org/n@v1.0/a/b.onnx", "modelscope", "org/n", "v1.0", "a/b.onnx", "n"),
        ("oci://host:5000/a/b:1.0", "oci", "host:5000/a/b:1.0", "", "", "b"),
        ("pypi://pkg==1.2/x/*.onnx", "pypi", "pkg", "1.2", "x/*.onnx", "pkg"),
        ("pypi://pkg", "pypi", "pkg", "", "", "pkg"),
        ("npm://@scope/n@1.0.0/dist", "npm", "@scope/n", "1.0.0", "dist", "n"),
        ("https://h.example/a/M_1.onnx", "https", "https://h.example/a/M_1.onnx", "", "", "m_1"),
        ("https://h.example/m.onnx?sig=KEY/x", "https", "https://h.example/m.onnx?sig=KEY/x", "", "", "m"),
        (f"https://h.example/a.zip#sha256={'a' * 64}", "https", "https://h.example/a.zip", "a" * 64, "", "a"),
    ],
)
def test_a_source_is_taken_apart(
    text: str, kind: str, place: str, revision: str, inner: str, name: str
) -> None:
    (source,) = read_sources(text)
    assert (source.kind, source.place, source.revision, source.inner) == (kind, place, revision, inner)
    assert source.name == name
    assert read_sources(str(source)) == [source] or "%2F" in text


def test_packages_are_put_together() -> None:
    assert [one.place for one in read_sources("pypi://a==1/x,npm://b@2/y")] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "ftp://h/x",
        "hf://one",
        "hf://a/b/../c",
        "pypi://a==1/x/../../y",
        "pypi://-e",
        "npm://a b",
        "npm://--registry=http://x",
        "https://h.example/",
        "https://h.example/a#md5=1",
        "hf://a/b,hf://c/d",
        "hf://a/b\x00",
        "pypi://" + "a" * 3000,
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(SourceUnknown):
        read_sources(text)


def test_names_become_those_of_a_shelf() -> None:
    assert slug("Größe & Co_1.ONNX") == "gr-e-co_1.onnx"
    assert slug("模型") == "model"
