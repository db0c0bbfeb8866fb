"""`covey completion SHELL`: completion scripts, made from the parser.

Owns: the scripts. Never touches: the node; contacts' names are not completed.
"""

from __future__ import annotations

import argparse

from covey_node.cli.exits import ExitCode
from covey_node.cli.output import Run
from covey_node.cli.parser import make_parser

_BASH = """# covey completion for bash: source <(covey completion bash)
_covey() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" command="" word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$word" in -*) ;; *) command="$word"; break ;; esac
    done
    case "$command" in
{cases}
        *) COMPREPLY=($(compgen -W "{commands}" -- "$current")) ;;
    esac
}}
complete -o default -F _covey covey
"""


def completion(run: Run) -> int:
    """`covey completion bash|zsh|fish`."""
    words = _words(make_parser())
    shell = run.options.shell
    script = _fish(words) if shell == "fish" else _bash(words)
    if shell == "zsh":
        script = "# zsh: source <(covey completion zsh)\nautoload -U +X bashcompinit && bashcompinit\n" + script
    run.out.show({"shell": shell, "script": script}, [script.rstrip("\n")])
    return ExitCode.OK


def _words(parser: argparse.ArgumentParser) -> dict[str, tuple[str, list[str]]]:
    """Return each command's help text, and the options and actions that may follow it."""
    found = {}
    for name, (help_text, command) in _commands(parser).items():
        options = [option for action in command._actions for option in action.option_strings]  # noqa: SLF001
        found[name] = help_text, sorted({*options, *_commands(command)})
    return found


def _commands(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:  # noqa: SLF001 - argparse shows its parts nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
            return {name: (helps.get(name, ""), command) for name, command in action.choices.items()}
    return {}


def _bash(words: dict[str, tuple[str, list[str]]]) -> str:
    cases = "\n".join(
        f'        {name}) COMPREPLY=($(compgen -W "{" ".join(options)}" -- "$current")) ;;'
        for name, (_, options) in words.items()
    )
    return _BASH.format(cases=cases, commands=" ".join(words))


def _fish(words: dict[str, tuple[str, list[str]]]) -> str:
    lines = ["# covey completion for fish: covey completion fish | source", "complete -c covey -f"]
    for name, (help_text, options) in words.items():
        quoted = help_text.replace("'", "\\'")
        lines.append(f"complete -c covey -n __fish_use_subcommand -a {name} -d '{quoted}'")
        for option in options:
            kind = f"-l {option[2:]}" if option.startswith("--") else f"-a {option}"
            if option != "-h":
                lines.append(f"complete -c covey -n '__fish_seen_subcommand_from {name}' {kind}")
    return "\n".join(lines) + "\n"
