"""Every golden config, read by the real nginx."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.sites import site_case, whole_nginx

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not whole_nginx.NGINX, reason="nginx is not installed here"),
]


@pytest.mark.parametrize("path", site_case.CASES, ids=lambda path: path.stem)
def test_nginx_accepts_it_without_a_warning(path: Path, tmp_path: Path) -> None:
    site, _ = site_case.load(path)
    whole_nginx.prepare(
        tmp_path, [site], http_port=whole_nginx.free_port(), https_port=whole_nginx.free_port()
    )
    checked = whole_nginx.check(tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    assert "[emerg]" not in checked.stderr


def test_nginx_accepts_all_of_them_together(tmp_path: Path) -> None:
    sites = [site_case.load(path)[0] for path in site_case.CASES]
    whole_nginx.prepare(
        tmp_path, sites, http_port=whole_nginx.free_port(), https_port=whole_nginx.free_port()
    )
    checked = whole_nginx.check(tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
