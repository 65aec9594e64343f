"""The settings of a node: `DATA/hedgerow.toml`, typed, each documented once, here.

A setting's description is the text of its declaration below; `commented()` writes it into the file that
`init` makes, and the documentation is checked against it. Order of precedence, the later wins: the default,
the file, the environment (`HEDGEROW_SECTION__KEY`), the options of the command. Unknown keys are refused with
the nearest known one: a mistyped key that is silently ignored is a setting that its operator believes in.
"""

import difflib
import os
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from node.errors import HedgerowError

SETTINGS_FILE = "hedgerow.toml"
ENVIRONMENT_PREFIX = "HEDGEROW_"
HOME_DOCUMENTS_MAX = 10_000
LISTEN_DEFAULT = "127.0.0.1:8460"
PORT_MAX = 65_535


class SettingsError(Exception):
    """The settings cannot be used; `says` is one line that names the file, the key and the way out."""

    code = "settings"

    def __init__(self, says: str) -> None:
        """Keep the one line that a person reads."""
        super().__init__(says)
        self.says = says


class Web(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The page, the API and the place where peers call."""

    listen: Annotated[
        str,
        Meta(
            description="Address and port of the page, the API and /sync: HOST:PORT. Port 0 takes a free one."
        ),
    ] = LISTEN_DEFAULT
    public_url: Annotated[
        str,
        Meta(description="Where residents and peers reach this node from outside; empty if they cannot."),
    ] = ""
    hosts: Annotated[
        list[str],
        Meta(
            description="Further Host names under which the page may be opened, beside loopback, private "
            "addresses and the public URL's."
        ),
    ] = []
    public_reading: Annotated[
        bool,
        Meta(description="Whether what towns share in federations may be read without signing in."),
    ] = True


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much this town keeps for itself; what it shares is bounded by the quotas of its federations."""

    home_documents: Annotated[
        int,
        Meta(
            ge=0,
            description="How many documents posted for this town only may be kept; withdrawn ones count "
            "until they would have ended.",
        ),
    ] = HOME_DOCUMENTS_MAX


class Links(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The links to the nodes of other towns."""

    dial: Annotated[
        bool,
        Meta(description="Whether this node calls its peers itself, beside answering when they call."),
    ] = True
    urls: Annotated[
        list[str],
        Meta(
            description="Where peers are told to call, most wanted first; empty: the public URL, else none."
        ),
    ] = []


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the node writes to its standard error."""

    level: Annotated[
        Literal["error", "warning", "info", "debug"],
        Meta(description="How much is written: error, warning, info or debug."),
    ] = "info"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one node, in sections."""

    web: Web = Web()
    links: Links = Links()
    limits: Limits = Limits()
    log: Log = Log()


@dataclass(frozen=True, slots=True)
class Setting:
    """One declared setting: where it stands, what it is for, and its default."""

    section: str
    key: str
    description: str
    default: object
    type: object

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{ENVIRONMENT_PREFIX}{self.section}__{self.key}".upper()


def declared() -> Iterator[Setting]:
    """Every setting in the order of the file."""
    for section in msgspec.structs.fields(Settings):
        struct = type(section.default)
        hints = get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            annotated = hints[field.name]
            metas = [extra for extra in get_args(annotated)[1:] if isinstance(extra, Meta)]
            default = field.default_factory() if callable(field.default_factory) else field.default
            yield Setting(
                section.name, field.name, metas[0].description or "", default, get_args(annotated)[0]
            )


def commented(values: Mapping[tuple[str, str], object] = types.MappingProxyType({})) -> str:
    """The text of a settings file that explains every setting; those in `values` are set."""
    lines = [
        "# The settings of this Hedgerow node. A line that begins with '#' shows a default; remove the '#'",
        "# to change it. Each can also be set by the environment variable that is named with it.",
    ]
    section = ""
    for setting in declared():
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        lines += [f"# {setting.description} ({setting.variable})"]
        given = values.get((setting.section, setting.key))
        mark = "" if given is not None else "# "
        lines.append(f"{mark}{setting.key} = {_toml(setting.default if given is None else given)}")
    return "\n".join(lines) + "\n"


def read_settings(data: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the node whose data directory is `data`.

    Raises:
        SettingsError: the file cannot be read, is no TOML, has an unknown key or a value of the wrong type.
    """
    path = data / SETTINGS_FILE
    try:
        text = path.read_text("utf-8") if path.exists() else ""
        tree: dict[str, Any] = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}. Make it readable for this user."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}. Mend that line.") from None
    _refuse_unknown(tree, str(path))
    _overlay(tree, os.environ if environment is None else environment)
    try:
        settings = msgspec.convert(tree, Settings)
        web = settings.web
        checked = checked_web(web, listen=web.listen, public_url=web.public_url)
        return msgspec.structs.replace(settings, web=checked)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: {_in_words(str(error))}.") from None
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.says}") from None


def checked_web(web: Web, *, listen: str | None = None, public_url: str | None = None) -> Web:
    """Return the settings of the page with what is given in their place, if a node can be run so.

    Raises:
        SettingsError: That is no address, or no URL.
    """
    given: dict[str, str] = {}
    if listen is not None:
        given["listen"] = _checked_listen(listen)
    if public_url is not None:
        given["public_url"] = _checked_public_url(public_url) if public_url else ""
    return msgspec.structs.replace(web, **given)


def _checked_listen(listen: str) -> str:
    host, colon, port = listen.strip().rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= PORT_MAX
    if is_port and not host:
        # The system would take "no host" for all networks, which nobody has said.
        raise SettingsError(
            f"web.listen is {listen}: name the host too: 127.0.0.1:{port} serves this machine alone, "
            f"0.0.0.0:{port} the network."
        )
    if not (colon and is_port) or "/" in host or any(letter.isspace() for letter in host):
        raise SettingsError(f"web.listen is {listen}: write it as HOST:PORT, such as {LISTEN_DEFAULT}.")
    return f"{host}:{port}"


def _checked_public_url(url: str) -> str:
    from node.peers import checked_url

    try:
        return checked_url(url)
    except HedgerowError as error:
        raise SettingsError(f"web.public_url: {error.says}.") from None


def _toml(value: object) -> str:
    """A value as TOML; the settings hold nothing but strings, numbers, truth values and lists of strings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def _refuse_unknown(tree: Mapping[str, object], where: str) -> None:
    known: dict[str, list[str]] = {}
    for setting in declared():
        known.setdefault(setting.section, []).append(setting.key)
    for section, content in tree.items():
        if section not in known:
            raise SettingsError(f"{where}: there is no section [{section}]{_nearest(section, list(known))}")
        if not isinstance(content, Mapping):
            raise SettingsError(f"{where}: {section} is a section: write [{section}] and its keys below it.")
        for key in content:
            if key not in known[section]:
                raise SettingsError(f"{where}: [{section}] has no key {key}{_nearest(key, known[section])}")


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}."


def _overlay(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Put what the environment sets over the file; a variable with `__` that is no setting is refused too."""
    by_variable = {setting.variable: setting for setting in declared()}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" not in variable:
            continue
        setting = by_variable.get(variable)
        if setting is None:
            raise SettingsError(f"{variable} sets nothing{_nearest(variable, list(by_variable))}")
        tree.setdefault(setting.section, {})[setting.key] = _from_text(setting, text)


def _from_text(setting: Setting, text: str) -> object:
    if get_origin(setting.type) is list:
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return msgspec.convert(text, setting.type, strict=False)
    except msgspec.ValidationError as error:
        choices = _choices(f"{setting.section}.{setting.key}")
        raise SettingsError(f"{setting.variable}={text}: {_in_words(str(error))}{choices}.") from None


def _in_words(message: str) -> str:
    """msgspec's message with its path `$.web.listen` as people write it: `web.listen`."""
    text, _, path = message.partition(" - at `$.")
    for ours, theirs in (
        ("text", "`str`"),
        ("a whole number", "`int`"),
        ("true or false", "`bool`"),
        ("a list", "`array`"),
    ):
        text = text.replace(theirs, ours)
    name = path.rstrip("`")
    said = f"{text.lower()}{_choices(name)}"
    return f"{name}: {said}" if path else said


def _choices(name: str) -> str:
    """What a setting may be, where that is one of a few words."""
    for setting in declared():
        if f"{setting.section}.{setting.key}" == name and get_origin(setting.type) is Literal:
            return f"; it may be {', '.join(map(str, get_args(setting.type)))}"
    return ""
