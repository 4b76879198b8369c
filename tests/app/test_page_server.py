"""The server of the page: local unless told otherwise, guarded, without telemetry, and one engine for all pages."""

import json
import urllib.error
import urllib.request

import pytest

from planned_diffusion.app.page_server import Showing
from planned_diffusion.cli.main import main
from planned_diffusion.inference.server.run_server import Address


@pytest.fixture(scope="module")
def page(start_page):
    return start_page()


def get(url: str, **headers) -> tuple[int, str]:
    """Return status and text of an address."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_only_this_machine_unless_it_is_public(capsys):
    assert Showing().address.host == "127.0.0.1"
    with pytest.raises(
        ValueError, match="Other machines reach 0.0.0.0, and the page asks nobody for a key; give --pub"
    ):
        Showing(Address("0.0.0.0"))
    assert Showing(Address("0.0.0.0"), is_public=True).is_public
    pytest.importorskip("gradio", reason="the command needs Gradio")
    assert main(["app", "--host", "0.0.0.0"]) == 2
    assert "give --public to let everybody in" in capsys.readouterr().err


def test_strangers_pages_and_names_are_refused(page):
    host = page.removeprefix("http://")
    assert get(page)[0] == 200
    assert get(page, Host="evil.example")[0] == 403
    assert get(page, Host="localhost" + host[host.index(":") :])[0] == 200
    for origin, status in ((page, 200), ("https://evil.example", 403), ("null", 403), (f"{page}0", 403)):
        assert get(f"{page}/config", Origin=origin)[0] == status, origin


def test_the_page_tells_nobody(page):
    config = json.loads(get(f"{page}/config")[1])
    assert config["analytics_enabled"] is False
    html = get(page)[1]
    assert "fonts.googleapis.com" not in html and "fonts.gstatic.com" not in html
    assert not config.get("stylesheets")


def test_metrics_and_an_unknown_replay(page):
    assert 'planned_diffusion_answers{model="facts"} 0.0' in get(f"{page}/metrics")[1]
    assert get(f"{page}/replay/none") == (404, "This answer is not remembered any more; ask again.\n")


def test_a_port_in_use_is_one_sentence(page, capsys):
    port = page.rpartition(":")[2]
    assert main(["app", "--port", port]) == 2
    assert f"error: 127.0.0.1:{port} cannot be listened on (Address already in use" in capsys.readouterr().err
