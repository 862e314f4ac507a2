"""Tab completion in bash, for every way to call a command: Hydra finds the words, and the script here asks it.

Hydra's own script knows only ``python``, and no ``python3``, path of an interpreter or name with a hyphen.
"""

from __future__ import annotations

from collections.abc import Sequence

from secseg.utils.program import COMMANDS, console_script

# Bash finds the rule of `.venv/bin/python` under `python`. In other programs and scripts, file names are completed.
_SCRIPT = """\
_secseg_complete() {{
  local line=${{COMP_LINE:0:COMP_POINT}} words program settings word choices choice
  read -ra words <<< "$line"
  program=("${{words[0]}}")
  COMPREPLY=()
  if [[ ${{words[0]##*/}} == python* ]]; then
    grep -qs '^from secseg.cli' "${{words[1]}}" || return 0
    program+=("${{words[1]}}")
  fi
  word=${{line##*[[:space:]]}}
  settings="${{words[*]:${{#program[@]}}}}"
  [[ $word ]] || settings+=" "
  read -ra choices <<< "$(COMP_LINE="python x.py $settings" "${{program[@]}}" -sc query=bash 2> /dev/null)"
  for choice in "${{choices[@]}}"; do
    [[ $choice == "$word"* ]] && COMPREPLY+=("$choice")
  done
  if [[ $COMP_WORDBREAKS == *=* ]]; then  # then bash replaces only what follows the last =
    word=${{word%"${{word##*=}}"}}
    COMPREPLY=("${{COMPREPLY[@]#"$word"}}")
  fi
}}
complete -o nospace -o default -F _secseg_complete {names}
"""
# Programs whose completion is another's by now keep it.
_REMOVAL = """\
for name in {names}; do
  if [[ $(complete -p "$name" 2> /dev/null) == *" -F _secseg_complete "* ]]; then complete -r "$name"; fi
done
unset -f _secseg_complete
"""


def completion_script(words: Sequence[str]) -> str | None:
    """Return the script that a command line asks for, for ``eval``: ``-sc install=bash`` or ``-sc uninstall=bash``;
    None for another command line."""
    if len(words) != 2 or words[0] not in ("-sc", "--shell-completion"):
        return None
    return {"install=bash": bash_script, "uninstall=bash": _removal}.get(words[1], lambda: None)()


def bash_script() -> str:
    """Return the script that completes all commands, called in any way."""
    return _SCRIPT.format(names=_names())


def _removal() -> str:
    return _REMOVAL.format(names=_names())


def _names() -> str:
    versions = [f"python3.{minor}" for minor in range(11, 15)]
    return " ".join(["python", "python3", *versions, *map(console_script, COMMANDS)])
