"""A Modelfile as a source: where FROM leads, which keys win, and where its faults are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.core.desired import Desired, File, FromFile, FromModel, FromRegistry, Overrides
from paddock.core.names import Name
from paddock.core.resolve import resolve
from paddock.core.spec import ModelSpec
from paddock.core.spec_sources import FileSpec, GgufSource, ModelSource, RegistrySource
from paddock.edges.specfile.files import MAX_MODELFILE_BYTES
from paddock.engine.desire import Desire
from paddock.errors import SpecError
from spec_texts import HEAD, complaints, load, write

DECLARED = HEAD + "  m: {source: {modelfile: ./Modelfile}}\n"
SMOL = "  smol: {source: {gguf: s.gguf}}\n"
LATER = "not supported by this version of paddock"


def loaded(folder: Path, modelfile: str, more: str = "", text: str = DECLARED) -> ModelSpec:
    write(folder, modelfile, "Modelfile")
    return load(folder, text + more).spec.models["m"]


def desired(folder: Path, text: str) -> Desired:
    return resolve(load(folder, text).spec, "models.yaml")


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("./a.gguf", "{here}/a.gguf"),
        ("../a.gguf", "{here}/../a.gguf"),
        ("a.gguf", "{here}/a.gguf"),
        ("sub/A.GGUF", "{here}/sub/A.GGUF"),
        ('"a b.gguf"', "{here}/a b.gguf"),
        ("/srv/models/blob", "/srv/models/blob"),
        ("~/a", "/home/alice/a"),
        ("./smol", "{here}/smol"),
    ],
)
def test_from_a_path_is_a_file_relative_to_the_modelfile(
    base: str, path: str, tmp_path: Path
) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    write(folder, f"FROM {base}\n", "My.Modelfile")
    text = HEAD + f"  m: {{source: {{modelfile: sub/My.Modelfile}}}}\n{SMOL}"
    assert load(tmp_path, text).spec.models["m"].source == GgufSource(
        gguf=path.replace("{here}", str(folder))
    )


def test_from_what_is_on_disk_is_a_file_before_it_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "smol").symlink_to("nowhere")
    found = loaded(tmp_path, "FROM smol\n", SMOL)
    assert found.source == GgufSource(gguf=FileSpec(path=f"{tmp_path}/smol"))


@pytest.mark.parametrize("base", ["smol", "SMOL:latest", "library/smol"])
def test_from_a_declared_name_is_that_model(base: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, f"FROM {base}\n", SMOL).source == ModelSource(model="smol")


@pytest.mark.parametrize(
    "base", ["llama3.2:3b", "hf.co/a/b-GGUF:b.Q4_K_M.gguf", "m", "localhost:5000/a/b", "smol:q4"]
)
def test_from_another_name_or_its_own_is_one_to_pull(base: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, f"FROM {base}\n", SMOL).source == RegistrySource(registry=base)


@pytest.mark.parametrize(
    ("base", "what"),
    [
        (
            "./sub",
            (
                f'FROM a folder, "./sub", is {LATER}; '
                "name a GGUF file in it, or add a tag such as :latest to mean a model"
            ),
        ),
        (
            "sub",
            (
                f'FROM a folder, "sub", is {LATER}; '
                "name a GGUF file in it, or add a tag such as :latest to mean a model"
            ),
        ),
        (
            "./m.safetensors",
            (f'FROM safetensors, "./m.safetensors", is {LATER}; convert it to GGUF, and name that'),
        ),
        ("./m-*.gguf", f'a pattern in FROM "./m-*.gguf" is {LATER}; name the file'),
        (
            "~bob/m.gguf",
            (
                'FROM "~bob/m.gguf" ~ is understood for the daemon\'s own user only; '
                "write the whole path, or ./~... for a file of that name"
            ),
        ),
        (
            "a b",
            (
                'FROM is neither a file nor a model: "a b" is not a model name: '
                'the model holds " "; use letters, digits and _ - .'
            ),
        ),
        (
            "gpt-oss:120b-cloud",
            (
                'FROM is neither a file nor a model: "gpt-oss:120b-cloud" is not a model name: '
                'Ollama keeps the tag "120b-cloud" to itself; use another tag'
            ),
        ),
    ],
)
def test_a_from_that_cannot_be_used_is_told_with_its_line(
    base: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, f"# c\nFROM {base}\n", "Modelfile")
    assert complaints(write(tmp_path, DECLARED)) == [
        f"models.yaml:3:27: models.m.source.modelfile: Modelfile:2: {what}"
    ]


@pytest.mark.parametrize(
    "bases", ["FROM ./a.gguf\nFROM ./mmproj-a.gguf\n", "FROM ./mmproj-a.gguf\nFROM ./a.gguf\n"]
)
def test_the_files_of_a_modelfile_are_those_of_a_source(bases: str, tmp_path: Path) -> None:
    write(tmp_path, bases + "ADAPTER ./l.gguf\nDRAFT /d.gguf\n", "Modelfile")
    assert load(tmp_path, DECLARED).spec.models["m"].source == GgufSource(
        gguf=FileSpec(path=f"{tmp_path}/a.gguf"),
        projector=FileSpec(path=f"{tmp_path}/mmproj-a.gguf"),
        adapters=(FileSpec(path=f"{tmp_path}/l.gguf"),),
        draft=FileSpec(path="/d.gguf"),
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("FROM ./a.gguf\nFROM ./b.gguf\nFROM ./c.gguf\n", "Modelfile:3: a third FROM is"),
        ("FROM llama3.2\nADAPTER ./a.gguf\n", "Modelfile:2: a file beside a model, "),
        ("FROM ./a.gguf\nDRAFT .\n", "Modelfile:2: DRAFT a folder, "),
        ("FROM ./a.gguf\nADAPTER ./a.safetensors\n", "Modelfile:2: ADAPTER safetensors, "),
    ],
)
def test_files_that_cannot_be_used_are_told_with_their_line(
    text: str, what: str, tmp_path: Path
) -> None:
    write(tmp_path, text, "Modelfile")
    [complaint] = complaints(write(tmp_path, DECLARED))
    assert complaint.startswith(f"models.yaml:3:27: models.m.source.modelfile: {what}")


def test_every_fault_of_a_modelfile_is_told_at_the_source_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, "FROM x\nPARSER a\nPARAMETER tempreature 1\n", "Modelfile")
    assert complaints(write(tmp_path, DECLARED + "  bad name: {state: absent}\n")) == [
        (
            f"models.yaml:3:27: models.m.source.modelfile: Modelfile:2: PARSER is {LATER}; "
            "remove it, or use a newer version"
        ),
        (
            "models.yaml:3:27: models.m.source.modelfile: Modelfile:3: PARAMETER tempreature: "
            'unknown option of Ollama; did you mean "temperature"?'
        ),
        (
            '4:3: models."bad name": "bad name" is not a model name: the model holds " "; '
            "use letters, digits and _ - ."
        ).replace("4:3", "models.yaml:4:3", 1),
    ]


def test_a_modelfile_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    text = HEAD + "".join(
        f"  {name}: {{source: {{modelfile: {name}}}}}\n" for name in ("gone", "folder", "large")
    )
    (tmp_path / "folder").mkdir()
    write(tmp_path, b"#" * (MAX_MODELFILE_BYTES + 1), "large")
    assert complaints(write(tmp_path, text)) == [
        (
            "models.yaml:3:30: models.gone.source.modelfile: gone: the file does not exist; "
            "create it, or name another"
        ),
        (
            "models.yaml:4:32: models.folder.source.modelfile: folder: it is a folder, not a file; "
            "name a file"
        ),
        (
            "models.yaml:5:31: models.large.source.modelfile: large: the file is larger than "
            "1024 KiB; make it smaller"
        ),
    ]


def test_a_modelfile_counts_among_the_files_that_are_watched(tmp_path: Path) -> None:
    modelfile = write(tmp_path, "FROM x\n", "Modelfile")
    first = load(tmp_path, DECLARED)
    assert first.files == (tmp_path / "models.yaml", modelfile)
    write(tmp_path, "FROM x\n# changed\n", "Modelfile")
    assert load(tmp_path, DECLARED).digest != first.digest


def test_models_based_on_each_other_by_modelfiles_are_a_circle(tmp_path: Path) -> None:
    write(tmp_path, "FROM b\n", "Modelfile")
    text = DECLARED.replace("  m:", "  a:") + "  b: {source: {model: a}}\n"
    assert complaints(write(tmp_path, text)) == [
        (
            "models.yaml:3:27: models.a.source.modelfile: the models are based on each other in a "
            "circle: a -> b -> a; give one of them a gguf or a registry source"
        )
    ]


def test_a_base_that_is_absent_is_told_at_the_modelfile(tmp_path: Path) -> None:
    write(tmp_path, "FROM b\n", "Modelfile")
    assert complaints(write(tmp_path, DECLARED + "  b: {state: absent}\n")) == [
        (
            'models.yaml:3:27: models.m.source.modelfile: "b" is declared absent at '
            "models.yaml:4:7; choose another base"
        )
    ]


def test_what_a_modelfile_says_is_set_as_if_models_yaml_said_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        "FROM ./x.gguf\nSYSTEM s\nTEMPLATE t\nPARAMETER top_k 3\nMESSAGE user hi\nLICENSE l\n",
        "Modelfile",
    )
    said = (
        HEAD + "  m:\n    source: {gguf: ./x.gguf}\n    system: s\n    template: t\n"
        "    parameters: {top_k: 3}\n    messages: [{role: user, content: hi}]\n    license: l\n"
    )
    found = desired(tmp_path, DECLARED)
    name = Name.parse("m")
    assert found.models[name].source == FromFile(File(f"{tmp_path}/x.gguf"))
    assert found == desired(tmp_path, said)
    assert found.models[name].overrides.parameters == {"top_k": 3}


def test_names_after_from_become_the_sources_that_models_yaml_has_for_them(tmp_path: Path) -> None:
    write(tmp_path, "FROM smol\n", "Modelfile")
    name, base = Name.parse("m"), Name.parse("smol")
    assert desired(tmp_path, DECLARED + SMOL).models[name].source == FromModel(base)
    found = desired(tmp_path, DECLARED).models[name]
    assert (found.source, found.overrides) == (FromRegistry(base), Overrides())


def test_a_key_of_models_yaml_wins_over_the_modelfile_and_it_over_defaults(tmp_path: Path) -> None:
    text = (
        "version: 1\ndefaults:\n  system: d\n  license: d\n  keep_alive: 5m\n"
        "  parameters: {top_k: 1, seed: 1, num_ctx: 1, num_keep: 1}\nmodels:\n"
        "  m:\n    source: {modelfile: ./Modelfile}\n    messages: []\n    template: t\n"
        "    parameters: {top_k: 3, num_keep: null}\n"
    )
    write(
        tmp_path,
        "FROM ./x\nSYSTEM f\nTEMPLATE f\nMESSAGE user f\n"
        "PARAMETER top_k 2\nPARAMETER seed 2\nPARAMETER num_keep 2\n",
        "Modelfile",
    )
    found = desired(tmp_path, text).models[Name.parse("m")]
    assert found.overrides == Overrides(
        template="t",
        system="f",
        parameters={"top_k": 3, "seed": 2, "num_ctx": 1},
        license=("d",),
    )
    assert found.residency.keep_alive is not None


def test_null_on_the_model_clears_what_the_modelfile_says(tmp_path: Path) -> None:
    nulls = "".join(
        f"    {key}: null\n" for key in ("system", "template", "parameters", "messages", "license")
    )
    text = HEAD + f"  m:\n    source: {{modelfile: ./Modelfile}}\n{nulls}"
    lines = "SYSTEM f\nTEMPLATE f\nMESSAGE user f\nPARAMETER top_k 2\nLICENSE f\n"
    write(tmp_path, f"FROM ./x\n{lines}", "Modelfile")
    assert not desired(tmp_path, text).models[Name.parse("m")].overrides


def test_a_template_file_wins_over_the_modelfiles_template(tmp_path: Path) -> None:
    write(tmp_path, "ours", "t")
    text = HEAD + "  m:\n    source: {modelfile: ./Modelfile}\n    template_file: ./t\n"
    assert loaded(tmp_path, "FROM ./x\nTEMPLATE f\n", text=text).template == "ours"


def test_a_mended_modelfile_is_seen_though_models_yaml_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, "FROM x\nSYSTEMS a\n", "Modelfile")
    desire = Desire(write(tmp_path, DECLARED), {})
    with pytest.raises(SpecError):
        desire()
    write(tmp_path, "FROM x\nSYSTEM a\n", "Modelfile")
    good = desire()
    assert good.models[Name.parse("m")].overrides.system == "a"
    assert desire() is good
    write(tmp_path, "FROM x\nSYSTEMS a\n", "Modelfile")
    with pytest.raises(SpecError):
        desire()
    assert tmp_path / "Modelfile" in desire.files
