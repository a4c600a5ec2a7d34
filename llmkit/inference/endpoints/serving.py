"""What `llmkit serve` hands over to: the command, checked up to the port."""

from __future__ import annotations

import socket

from llmkit import models
from llmkit.errors import OptionError
from llmkit.inference.endpoints.commands import ServeCommand, transformers_command, vllm_command
from llmkit.models import BUILTIN_NAME
from llmkit.options import ModelOptions, ServeOptions
from llmkit.output.report import Report


def serve_command(model: ModelOptions, serving: ServeOptions, report: Report) -> ServeCommand:
    """Return the command that serves a model, and say how it is asked.

    Raises:
        OptionError: the port is taken, or the program is not there.
        ModelError, HubError: the model is not there, or cannot be served.
    """
    resolved = models.resolve_model(model, report, BUILTIN_NAME)
    if model.model is None:
        report.say("model: the built-in one, a small demonstration; -m names another")
    address = (serving.host, serving.port)
    if serving.engine == "vllm":
        command = vllm_command(resolved, model, serving, address)
    else:
        command = transformers_command(resolved, model, address)
    require_free(*address)
    if serving.is_open:
        report.warn(
            f"--host {serving.host}: other machines can ask, and there is no key; put a proxy that wants one before it"
        )
    has_chat = bool(models.load_tokenizer(resolved, model).chat_template)
    way = "" if has_chat else " --no-chat"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(serving.host, serving.host)
    report.say(f"ask it: llmkit generate --endpoint http://{host}:{serving.port} -m {command.model}{way} PROMPT")
    return command


def require_free(host: str, port: int) -> None:
    """Refuse a port that cannot be listened on.

    Raises:
        OptionError: it is taken, or the address is not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise OptionError(f"--host {host} --port {port}: {error.strerror or error}; name another") from None
