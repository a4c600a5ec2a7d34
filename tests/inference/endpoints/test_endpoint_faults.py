"""What a server does wrong is one sentence with the right code, and what it does late is waited for."""

from __future__ import annotations

import json

import pytest
from stand_in_server import TIMES, Scripted, standing_in, written

from llmkit.errors import DataError, HubError, LlmkitError, OptionError
from llmkit.inference.endpoints.client import Client
from llmkit.inference.endpoints.generating import ServerTexts
from llmkit.options import EndpointOptions, GenerationOptions, TalkOptions
from llmkit.output.report import Report

KEY = "sk-very-secret-0123"
QUIET = Report(TalkOptions(quiet=True))
ONE_CHOICE = {"choices": [{"index": 0, "message": {"content": "A"}, "finish_reason": "stop"}]}


def texts_of(client: Client, *prompts: str, decoding: GenerationOptions | None = None) -> list[list[str | None]]:
    texts = ServerTexts.find(client, "tiny", decoding or GenerationOptions(), 20, QUIET)
    names = [f"row {number}" for number in range(1, len(prompts) + 1)]
    return texts.write(prompts, names, range(len(prompts)))


FAULTS = {
    "401": (
        Scripted(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}),
        4,
        "refuses the key in MY_KEY (401)",
    ),
    "403": (Scripted(403, {"error": "no"}), 4, "forbids this to the key in MY_KEY (403)"),
    "429": (Scripted(429, {"error": {"message": "quota"}}, times=TIMES), 4, "slow down (429, 3 times): quota; try"),
    "429 for long": (Scripted(429, "", {"Retry-After": "3600"}, times=TIMES), 4, "it asks to wait 3600 s"),
    "500": (Scripted(500, "Internal Server Error", times=TIMES), 4, "fails (500, 3 times): Internal Server Error"),
    "503 page": (Scripted(503, "<html>down</html>", times=TIMES), 4, "fails (503, 3 times); try again later"),
    "500 with the key": (Scripted(500, f"bad header {KEY}", times=TIMES), 4, "bad header ***"),
    "400": (Scripted(400, {"detail": "prompt too long"}), 2, "row 1: "),
    "422 listed": (Scripted(422, {"detail": [{"msg": "min_p?"}, {"msg": "top_k?"}]}), 2, "(422): min_p?; top_k?"),
    "404": (Scripted(404, {"detail": "Not Found"}), 2, "has no such address or model (404): Not Found"),
    "redirect": (
        Scripted(307, "", {"Location": "http://me:pw@elsewhere/v1?k=1"}),
        4,
        "sends on to 'http://elsewhere/v1'",
    ),
    "html": (Scripted(200, "<!doctype html><p>hi", {"Content-Type": "text/html"}), 4, "answers with a web page"),
    "html unnamed": (Scripted(200, "  <html>"), 4, "answers with a web page"),
    "no json": (Scripted(200, "hello"), 4, "answers with what is no JSON: 'hello'"),
    "half json": (Scripted(200, '{"choices": ['), 4, "answers with what is no JSON"),
    "stream": (Scripted(200, 'data: {"choices": []}\n\n'), 4, "answers with what is no JSON: 'data: "),
    "list": (Scripted(200, [1]), 4, "answers with JSON that is no object: '[1]'"),
    "empty": (Scripted(200, ""), 4, "answers with what is no JSON: ''"),
    "cut": (Scripted(200, '{"choices"', short=True, times=TIMES), 4, "broke off its answer"),
    "no choices": (Scripted(200, {"id": "x"}), 4, "row 1: the server's answer has no list of choices"),
    "choices of none": (Scripted(200, {"choices": []}), 4, "row 1: the server gave 0 choices where 1 were asked for"),
    "no message": (Scripted(200, {"choices": [{"text": "a"}]}), 4, "row 1: a text is wanted in the server's answer"),
    "a number": (Scripted(200, {"choices": [{"message": {"content": 3}}]}), 4, "row 1: a text is wanted"),
    "a list of parts": (Scripted(200, {"choices": [{"message": {"content": ["a"]}}]}), 4, "row 1: a text is wanted"),
    "a choice of text": (Scripted(200, {"choices": ["a"]}), 4, "row 1: a text is wanted"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_sentence_with_its_code_and_without_the_key(name):
    reply, code, sentence = FAULTS[name]
    with standing_in({"hello": [reply]}) as server:
        client = Client(server.url + "/v1", KEY, "MY_KEY", retries=2, pause=0)
        with pytest.raises(LlmkitError) as raised:
            texts_of(client, "hello")
        assert sentence in str(raised.value)
        assert raised.value.exit_code == code
        assert KEY not in str(raised.value)
        assert "\n" not in str(raised.value)
        assert len(server.posts) == (3 if reply.times > 1 and name != "429 for long" else 1)


def test_a_key_that_is_missing_is_asked_for_by_the_name_of_its_variable():
    with standing_in({"/v1/models": [Scripted(401, {"error": "no key"})]}) as server:
        client = Client.of(EndpointOptions(endpoint=server.url), QUIET)
        with pytest.raises(HubError, match=r"wants a key \(401\): export OPENAI_API_KEY=KEY, or name --api-key-env"):
            texts_of(client, "hello")
        assert server.posts == []


def test_what_fails_for_a_while_is_asked_again_and_comes_in_order():
    script = {
        "a": [Scripted(500), Scripted(502, "<html>")],
        "b": [Scripted(429, "", {"Retry-After": "0"})],
        "c": [Scripted(200, '{"ch', short=True)],
        "d": [Scripted(503, "", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})],
    }
    with standing_in(script) as server:
        client = Client(server.url + "/v1", retries=2, pause=0)
        assert texts_of(client, "a", "b", "c", "d", "e") == [["A"], ["B"], ["C"], ["D"], ["E"]]
        assert server.prompts() == ["a", "a", "a", "b", "b", "c", "c", "d", "d", "e"]


def test_no_more_requests_wait_than_are_allowed():
    with standing_in() as server:
        texts_of(Client(server.url + "/v1", concurrency=3), *map(str, range(40)))
        assert server.most_at_once <= 3
        assert len(server.posts) == 40


def test_a_request_has_a_deadline():
    with (
        standing_in({"hello": [Scripted(held=True)]}) as server,
        pytest.raises(HubError, match=r"did not answer in 0\.5 s; --timeout allows more"),
    ):
        texts_of(Client(server.url + "/v1", timeout=0.5, pause=0), "hello")


def test_a_server_that_is_not_there_is_known_at_once():
    with standing_in() as server:
        url = server.url
    with pytest.raises(HubError, match=r"cannot be reached .*: is a server running there\?"):
        texts_of(Client(url + "/v1"), "hello")


def test_https_of_a_server_without_it_is_a_sentence():
    with standing_in() as server, pytest.raises(HubError, match="no secure connection"):
        texts_of(Client(server.url.replace("http:", "https:") + "/v1"), "hello")


def test_a_first_fault_ends_the_others():
    script = {"*": [Scripted(403, times=TIMES)]}
    with standing_in(script) as server:
        with pytest.raises(HubError):
            texts_of(Client(server.url + "/v1", concurrency=2), *map(str, range(50)))
        assert len(server.posts) < 10


def test_fewer_choices_than_were_asked_for_are_refused():
    sampled = GenerationOptions(temperature=0.7, num_return_sequences=2)
    with (
        standing_in({"b": [Scripted(200, ONE_CHOICE)]}) as server,
        pytest.raises(HubError, match=r"row 2: the server gave 1 choice where 2 were asked for; it does not"),
    ):
        texts_of(Client(server.url + "/v1"), "a", "b", decoding=sampled)


def test_a_model_that_is_not_there_is_answered_with_those_that_are():
    with standing_in({"hello": [Scripted(404, {"error": {"message": "no model"}})]}) as server:
        texts = ServerTexts.find(Client(server.url + "/v1"), "tny", GenerationOptions(), 20, QUIET)
        with pytest.raises(
            LlmkitError, match=r"no model 'tny'; it has tiny \(did you mean 'tiny'\?\): say -m"
        ) as raised:
            texts.write(["hello"], ["row 1"], [0])
        assert raised.value.exit_code == 2


def test_a_bare_500_in_a_chat_names_the_other_way():
    with (
        standing_in({"hello": [Scripted(500, "Internal Server Error", times=TIMES)]}) as server,
        pytest.raises(HubError, match="a model without a chat template is asked by --no-chat"),
    ):
        texts_of(Client(server.url + "/v1", retries=1, pause=0), "hello")


def test_the_newer_name_of_the_length_is_taken_where_the_server_wants_it():
    wants = {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}
    with standing_in({"hello": [Scripted(400, wants)]}) as server:
        assert texts_of(Client(server.url + "/v1"), "hello") == [["HELLO"]]
        assert [sorted(asked.body) for asked in server.posts] == [
            ["max_tokens", "messages", "model", "temperature"],
            ["max_completion_tokens", "messages", "model", "temperature"],
        ]


def test_texts_that_were_cut_or_did_not_come_are_counted(capsys):
    script = {
        "a": [Scripted(body=json.loads('{"choices": [{"message": {"content": "half"}, "finish_reason": "length"}]}'))],
        "b": [Scripted(body={"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]})],
        "c": [Scripted(body={"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]})],
        "d": [Scripted(body={"choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]})],
    }
    with standing_in(script) as server:
        texts = ServerTexts.find(Client(server.url + "/v1"), None, GenerationOptions(), 7, Report())
        assert texts.write(list("abcd"), list("abcd"), range(4)) == [["half"], [None], [""], [None]]
        texts.say_ends()
    said = capsys.readouterr().err
    assert "warning: 1 of 4 answers is cut at 7 tokens; --max-new-tokens allows more" in said
    assert "warning: 1 of 4 answers is empty" in said
    assert "warning: 2 of 4 answers came without a text (content_filter), and are null" in said


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("HTTP://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://host/openai/v1beta", "https://host/openai/v1beta"),
        ("http://[::1]:8000/v1/chat/completions", "http://[::1]:8000/v1"),
        (" http://h/v1/completions ", "http://h/v1"),
    ],
)
def test_the_address_of_the_api_is_read_with_and_without_v1(url, base):
    assert EndpointOptions(endpoint=url).base_url == base


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:8000", "must be a URL such as http://localhost:8000/v1"),
        ("ftp://host/v1", "must be a URL such as"),
        ("http://", "must be a URL such as"),
        ("http://host:99999/v1", "is no URL"),
        ("http://ho st/v1", "must be a URL such as"),
        ("http://user:s3cret@host/v1", "must hold no user or password: export the key as OPENAI_API_KEY"),
        ("http://host/v1?key=s3cret", "must end before"),
        ("", "must be a URL such as"),
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(url, sentence):
    with pytest.raises(OptionError) as raised:
        EndpointOptions(endpoint=url)
    assert sentence in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"concurrency": 4}, "--concurrency is for requests to a server: add --endpoint URL, or --engine vllm"),
        ({"tensor_parallel_size": 2}, "--tensor-parallel-size is for --engine vllm"),
        ({"api_key_env": "KEY"}, "--api-key-env is for --endpoint"),
        ({"endpoint": "http://h", "engine": "vllm"}, "give one of them"),
        ({"endpoint": "http://h", "concurrency": 0}, "--concurrency must be at least 1, not 0"),
        ({"endpoint": "http://h", "timeout": 0.0}, "--timeout must be more than 0, not 0"),
        ({"endpoint": "http://h", "api_key_env": KEY}, "takes the name of a variable, such as OPENAI_API_KEY"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(options, sentence):
    with pytest.raises(OptionError) as raised:
        EndpointOptions(**options)
    assert sentence in str(raised.value)
    assert KEY not in str(raised.value)


def test_a_variable_that_is_not_there_or_holds_no_key_is_refused(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(OptionError, match="--api-key-env MY_KEY: there is no such variable"):
        Client.of(EndpointOptions(endpoint="http://h", api_key_env="MY_KEY"), QUIET)
    monkeypatch.setenv("MY_KEY", "two\nlines-s3cret")
    with pytest.raises(OptionError, match="the key in MY_KEY holds a character that no request can carry") as raised:
        Client.of(EndpointOptions(endpoint="http://h", api_key_env="MY_KEY"), QUIET)
    assert "s3cret" not in str(raised.value)


def test_a_key_that_goes_unencrypted_is_said(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    Client.of(EndpointOptions(endpoint="http://somewhere.example/v1"), Report())
    said = capsys.readouterr().err
    assert "the key in OPENAI_API_KEY goes to http://somewhere.example/v1 unencrypted" in said
    Client.of(EndpointOptions(endpoint="http://localhost:1/v1"), Report())
    Client.of(EndpointOptions(endpoint="https://somewhere.example/v1"), Report())
    assert capsys.readouterr().err == ""
    assert KEY not in said + repr(Client("http://h/v1", KEY))


@pytest.mark.parametrize(
    ("owner", "options", "fields"),
    [
        ("vllm", {"temperature": 1.0, "top_k": 5, "set": ["min_p=0.1"]}, {"top_k": 5, "min_p": 0.1}),
        (
            "vllm",
            {"repetition_penalty": 1.2, "set": ["min_new_tokens=3"]},
            {"repetition_penalty": 1.2, "min_tokens": 3},
        ),
        ("llamacpp", {"repetition_penalty": 1.2}, {"repeat_penalty": 1.2}),
    ],
)
def test_a_server_that_says_what_it_is_takes_more_flags(owner, options, fields):
    with standing_in(owner=owner) as server:
        texts_of(Client(server.url + "/v1"), "hello", decoding=GenerationOptions(**options))
        body = server.posts[0].body
        assert {name: body[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": 1.0, "top_k": 5}, "--top-k: .* is asked by OpenAI's API, which takes --max-new-tokens"),
        ({"repetition_penalty": 1.2, "num_beams": 2}, "--repetition-penalty, --num-beams: "),
        ({"set": ["no_repeat_ngram_size=2"]}, "--set no_repeat_ngram_size: "),
    ],
)
def test_flags_that_the_server_does_not_take_are_refused_before_anything_is_asked(options, sentence):
    with standing_in() as server:
        with pytest.raises(OptionError, match=sentence):
            texts_of(Client(server.url + "/v1"), "hello", decoding=GenerationOptions(**options))
        assert server.posts == []


def test_a_sampled_text_hangs_on_the_seed_and_the_number_of_its_row():
    with standing_in() as server:
        texts = ServerTexts.find(
            Client(server.url + "/v1"), None, GenerationOptions(temperature=0.5, top_p=0.9, seed=3), 9, QUIET
        )
        texts.write(["a", "b"], ["", ""], [0, 1])
        texts.write(["b"], [""], [1])
        bodies = sorted((asked.body for asked in server.posts), key=lambda body: body["messages"][0]["content"])
    assert {name: bodies[0][name] for name in ("model", "max_tokens", "temperature", "top_p")} == {
        "model": "tiny",
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
    }
    assert bodies[1]["seed"] == bodies[2]["seed"] != bodies[0]["seed"]
    assert 0 <= bodies[0]["seed"] < 2**31


def test_a_stop_text_that_the_server_leaves_in_is_cut_off():
    with standing_in() as server:
        decoding = GenerationOptions(stop=["LO", "ELL"], chat=False)
        assert texts_of(Client(server.url + "/v1"), "hello", decoding=decoding) == [["H"]]
        assert server.posts[0].body["stop"] == ["LO", "ELL"]
        assert server.posts[0].path == "/v1/completions"


def test_the_usual_answer_of_the_stand_in_is_what_is_read():
    with standing_in() as server:
        texts_of(Client(server.url + "/v1"), "hello")
        assert written(server.posts[0])["choices"][0]["message"]["content"] == "HELLO"


def test_data_errors_stay_what_they_are():
    with (
        standing_in({"b": [Scripted(413, {"message": "too long"})]}) as server,
        pytest.raises(DataError, match=r"row 2: .* refuses it \(413\): too long"),
    ):
        texts_of(Client(server.url + "/v1"), "a", "b")
