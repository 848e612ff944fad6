"""The DICOM commands: their options, output and exit codes."""

import contextlib
import errno
import io
import os
import stat
import sys

import pydicom
import pytest
import tiny_archive
import tiny_dicom
import tiny_package

from foveate import atomic_files, cli
from foveate.cli import dicom_key

needs_orthanc = pytest.mark.skipif(
    not tiny_archive.installed(), reason="needs Debian's packages orthanc and orthanc-dicomweb"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return tiny_package.build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def foveate(capsys):
    """Return a function that runs a command line, and returns its exit code and output."""

    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def eye(tmp_path):
    return tiny_dicom.save(tiny_dicom.op(tiny_package.fundus()), tmp_path / "eyes" / "eye.dcm")


def test_predict_writes_the_requested_objects(foveate, package, eye, tmp_path):
    line = ("predict", eye, "--model", package, "--threads", 1)

    assert foveate(*line, "--out", tmp_path / "plain")[0] == 0
    assert not (tmp_path / "plain" / "dicom").exists()
    assert foveate(*line, "--out", tmp_path / "sr", "--dicom", "sr")[0] == 0
    assert sorted(path.name for path in (tmp_path / "sr/dicom").iterdir()) == ["eye_SEG.dcm", "eye_SR.dcm"]
    assert pydicom.dcmread(tmp_path / "sr/dicom/eye_SR.dcm").PatientID == "PAT-4711"


def test_predict_removes_the_patient_on_request(foveate, package, eye, tmp_path):
    key = tmp_path / "key"
    assert foveate("dicom", "key", key)[0] == 0

    code, _, _ = foveate(
        *("predict", eye, "--model", package, "--threads", 1, "--out", tmp_path / "out"),
        *("--dicom", "seg", "--deidentify", key),
    )

    assert code == 0
    (file,) = (tmp_path / "out/dicom").iterdir()
    assert "eye" not in file.name
    dataset = pydicom.dcmread(file)
    assert (dataset.PatientID, dataset.PatientIdentityRemoved) == ("", "YES")


def test_a_secret_is_readable_by_its_owner_only_and_never_replaced(foveate, tmp_path):
    key = tmp_path / "key"

    assert foveate("dicom", "key", key)[0] == 0
    first = key.read_text()
    code, out, err = foveate("dicom", "key", key)

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(bytes.fromhex(first)) == 32
    assert (code, out) == (1, "")
    assert "cannot be created (File exists); choose another name" in err
    assert key.read_text() == first


def test_a_secret_that_does_not_fit_on_the_disk_leaves_no_file(foveate, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    key = tmp_path / "key"
    monkeypatch.setattr(dicom_key.secrets, "token_hex", full)
    code, _, err = foveate("dicom", "key", key)

    assert code == 1
    assert "key: cannot be written (No space left on device); make room" in err
    assert not key.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict x.dcm --out o --dicom pdf", "--dicom 'pdf': give some of seg,sr,prob."),
        ("predict x.dcm --out o --dicom seg,", "--dicom 'seg,': give some of seg,sr,prob."),
        (
            "predict x.dcm --out o --deidentify key",
            "--deidentify applies only to DICOM objects; give --dicom seg,sr as well, or leave it out.",
        ),
        ("predict x.dcm --out o --dicom seg --deidentify gone", "make one with foveate dicom key gone."),
        (
            "predict x.dcm --out o --dicom seg --deidentify short",
            "holds 5 bytes, but a secret has at least 16; make one with foveate dicom key",
        ),
        ("dicom pull http://h/d --out o", "give either --study or --date."),
        ("dicom pull http://h/d --out o --study 1.2 --date 20260101", "give either --study or --date."),
        ("dicom pull http://h/d --out o --date yesterday", "--date 'yesterday': give YYYYMMDD"),
        ("dicom pull http://h/d --out o --date 20261301", "--date '20261301': give YYYYMMDD"),
        ("dicom pull http://h/d --out o --date=-", "--date '-': give YYYYMMDD"),
        ("dicom watch http://h/d --out o --every 0", "--every 0: give seconds above 0"),
        ("dicom watch http://h/d --out o --dicom jpg", "--dicom 'jpg': give some of"),
        (
            "dicom pull http://h/d --out o --study 1.2 --user a --token-file short",
            "either --user or --token-file.",
        ),
    ],
)
def test_a_misused_command_is_exit_code_2_and_one_line(foveate, tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("12345")

    code, out, err = foveate(*line.split())

    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_password_file_that_is_missing_is_named(foveate, tmp_path):
    code, _, err = foveate(
        *("dicom", "push", tmp_path, "http://127.0.0.1:1/d"),
        *("--user", "a", "--password-file", tmp_path / "gone"),
    )

    assert code == 1
    assert "gone: cannot be read" in err


@pytest.mark.parametrize(
    "line",
    ["predict {eye} --out {out} --dicom seg --model {package}", "dicom push {out} http://127.0.0.1:1/d"],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    package, eye, tmp_path, monkeypatch, line
):
    for name in [name for name in sys.modules if name.startswith(("foveate.writers.dicom", "foveate.dicom"))]:
        monkeypatch.delitem(sys.modules, name)
    import foveate.writers

    monkeypatch.delattr(foveate.writers, "dicom", raising=False)
    for name in ("highdicom", "dicomweb_client", "pydicom"):
        monkeypatch.setitem(sys.modules, name, None)

    paths = {"eye": eye, "out": tmp_path / "out", "package": package}
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        code = cli.run([part.format(**paths) for part in line.split()])
    err = stderr.getvalue()

    assert code == 1
    assert "pip install 'foveate[dicom]'" in err
    assert err.count("\n") == 1


@needs_orthanc
def test_pull_predict_push_and_watch_on_the_command_line(foveate, package, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEATE_DICOM_PASSWORD", tiny_archive.PASSWORD)
    with tiny_archive.Orthanc(tmp_path / "orthanc") as orthanc:
        for number in range(2):
            path = tiny_dicom.save(
                tiny_dicom.op(tiny_package.fundus(seed=number), number), tmp_path / f"{number}.dcm"
            )
            orthanc.put(path.read_bytes())
        login = ("--user", tiny_archive.USER)
        photographs, results = tmp_path / "photographs", tmp_path / "results"

        pulled = foveate("dicom", "pull", orthanc.url, "--out", photographs, "--date", "20260102", *login)
        pulled_again = foveate(
            "dicom", "pull", orthanc.url, "--out", photographs, "--date", "20260102-", *login
        )
        predicted = foveate(
            *("predict", photographs, "--out", results, "--dicom", "seg,sr"),
            *("--model", package, "--threads", 1),
        )
        pushed = foveate("dicom", "push", results, orthanc.url, *login)
        pushed_again = foveate("dicom", "push", results, orthanc.url, *login)
        watched = foveate(
            *("dicom", "watch", orthanc.url, "--out", tmp_path / "w", "--once", "--model", package),
            *("--threads", 1, *login),
        )
        count = orthanc.count()

    assert pulled[:2] == (0, f"{photographs}: 2 photographs fetched, 0 existed already; 1 study\n")
    assert pulled[2].count(": fetched\n") == 2
    assert pulled_again[:2] == (0, f"{photographs}: 0 photographs fetched, 2 existed already; 1 study\n")
    assert predicted[0] == 0
    assert pushed[:2] == (0, f"{orthanc.url}: 4 objects stored, 0 existed already\n")
    assert pushed_again[:2] == (0, f"{orthanc.url}: 0 objects stored, 4 existed already\n")
    assert watched[:2] == (0, f"{orthanc.url}: results of 0 photographs stored\n"), (
        "the results of predict are there"
    )
    assert count == 6


@pytest.mark.parametrize("every", ["0", "-3", "nan", "inf"])
def test_a_time_between_queries_that_is_none_is_refused(foveate, tmp_path, every):
    line = ("dicom", "watch", "http://127.0.0.1:9/x", "--out", tmp_path / "out", "--every", every)

    code, _, err = foveate(*line)

    assert code == 2
    assert f"--every {every}: give seconds above 0" in err


def test_a_password_in_the_address_is_never_shown(foveate, tmp_path):
    address = "http://clinic:lake@127.0.0.1:9/dicom-web"

    code, out, err = foveate("dicom", "pull", address, "--out", tmp_path / "out", "--date", "20260101")

    assert code == 1
    assert "http://127.0.0.1:9/dicom-web: does not answer" in err
    assert "lake" not in out + err


@pytest.mark.parametrize("content", [b"\xef\xbb\xbflake\r\n", "озеро\n".encode()])
def test_a_password_may_be_of_any_letters_and_come_from_windows(foveate, tmp_path, content):
    (tmp_path / "password").write_bytes(content)
    login = ("--user", "clinic", "--password-file", tmp_path / "password")

    code, _, err = foveate(
        *("dicom", "pull", "http://127.0.0.1:9/x", "--out", tmp_path / "out", "--date", "20260101"), *login
    )

    assert code == 1
    assert "does not answer" in err  # nobody is there; the request could be made


def test_a_token_that_no_header_can_hold_is_named(foveate, tmp_path):
    (tmp_path / "token").write_text("озеро", encoding="utf-8")

    code, _, err = foveate(
        *("dicom", "pull", "http://127.0.0.1:9/x", "--out", tmp_path / "out", "--date", "20260101"),
        *("--token-file", tmp_path / "token"),
    )

    assert code == 1
    assert "the token contains characters that a token cannot contain; check its file" in err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--keep-days", "nan"), "--keep-days is nan; give a number of days"),
        (("--keep-days", "inf"), "--keep-days is inf; give a number of days"),
        (("--keep-days", "1e12"), "--keep-days is 1e+12; give a number of days"),
        (("--keep-days", "1e7"), "results are kept for 10,000,000 days; give at most 36,525"),
        (("--limit-seconds", "nan"), "limit seconds is nan; give more than 0"),
        (("--limit-seconds", "inf"), "limit seconds is inf; give a finite number"),
    ],
)
def test_limits_of_the_server_that_are_none_are_refused(foveate, tmp_path, options, line):
    code, _, err = foveate("serve", "--data", tmp_path / "data", *options)

    assert code == 1
    assert line in err
    assert not (tmp_path / "data").exists()


def test_a_token_of_the_environment_is_stripped_and_an_empty_one_refused(foveate, tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr(
        "foveate.server.http.serving.serve", lambda options, say: served.append(options.token)
    )

    def serve(token):
        monkeypatch.setenv("FOVEATE_TOKEN", token)
        return foveate("serve", "--data", tmp_path / "data")

    assert serve(f" {'x' * 20}\r\n")[0] == 0
    assert served == ["x" * 20]
    for empty in ("", " \r"):
        code, _, err = serve(empty)
        assert code == 1
        assert "FOVEATE_TOKEN is set, but empty; give it a token, or unset it" in err
    assert len(served) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_a_second_watch_in_the_same_folder_is_refused(foveate, package, tmp_path):
    with atomic_files.reserve(tmp_path / "out"):
        code, out, err = foveate(
            "dicom", "watch", "http://127.0.0.1:9", "--out", tmp_path / "out", "--model", package, "--once"
        )

    assert (code, out) == (1, "")
    assert (
        err
        == f"foveate: another run is writing to {tmp_path / 'out'}; wait for it, or choose another folder\n"
    )


def test_a_host_that_is_none_is_refused(foveate, tmp_path):
    (tmp_path / "token").write_text("x" * 20)

    code, _, err = foveate(
        "serve", "--data", tmp_path / "data", "--host", "a" * 70, "--token-file", tmp_path / "token"
    )

    assert code == 1
    assert "is no host name or address; check it" in err
