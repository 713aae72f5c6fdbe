#!/usr/bin/env bash
# HEADING
#
# Runs these steps on the server that psql finds (PGHOST, PGPORT, PGUSER, PGPASSWORD...), in a database that is made for
# it and dropped at the end; psql 13 or newer, another one with PSQL=/path/to/psql. Each step is typed once the one
# before is seen to have ended, or to wait for a lock: no pause decides anything.
#
# Exit code: 0 the anomaly showed, 1 it did not (what was seen is not what was recorded), 2 it could not be run.
set -uo pipefail

PSQL=${PSQL:-psql}
PATIENCE_S=${PATIENCE_S:-60}      # for any one thing to be seen
what='WHAT'
database=harness_export_$$
directory=$(mktemp -d) || exit 2
declare -A keyboard backend program
differences=0

give_up() {
  printf 'could not be run: %s\n' "$*" >&2
  exit 2
}

differs() {
  printf '  differs: %s\n' "$*"
  differences=$((differences + 1))
}

ask() { "$PSQL" -XAtq -v ON_ERROR_STOP=1 -d "$database" -c "$1"; }

open_database() {
  "$PSQL" -XAtq -v ON_ERROR_STOP=1 -d "${PGDATABASE:-postgres}" -c "CREATE DATABASE $database" || give_up 'no database'
  trap close_all EXIT
}

close_all() {
  local terminal
  for terminal in "${!program[@]}"; do
    kill "${program[$terminal]}" 2>/dev/null
  done
  "$PSQL" -XAtq -d "${PGDATABASE:-postgres}" -c "DROP DATABASE IF EXISTS $database WITH (FORCE)"
  rm -rf "$directory"
}

before() { PGOPTIONS='-c client_min_messages=warning -c timezone=UTC' \
  "$PSQL" -Xq -v ON_ERROR_STOP=1 -d "$database" -o /dev/null || give_up 'tables, or start state'; }

# A terminal is a psql that reads from a pipe. \warn writes at once, behind what was printed.
open_terminal() {
  local terminal=$1 pipe=$directory/$1.in
  mkfifo "$pipe" && : >"$directory/$terminal"
  "$PSQL" -XAq -v VERBOSITY=verbose -d "$database" <"$pipe" >"$directory/$terminal" 2>&1 &
  program[$terminal]=$!
  exec {keyboard[$terminal]}>"$pipe"
  { printf '\\o /dev/null\n'; cat; printf '\\o\nSELECT pg_backend_pid() AS pid \\gset\n\\warn pid :pid\n'; } \
    >&"${keyboard[$terminal]}"
  until_written "$terminal" '^pid [0-9]+$' || give_up "$terminal does not answer"
  backend[$terminal]=$(sed -n 's/^pid //p' "$directory/$terminal")
}

until_written() {
  local deadline=$((SECONDS + PATIENCE_S))
  until grep -Eq "$2" "$directory/$1"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.01
  done
}

until_waiting() {
  local number=$1 terminal=$2 deadline=$((SECONDS + PATIENCE_S))
  until [[ $(ask "SELECT cardinality(pg_blocking_pids(${backend[$terminal]})) > 0") == t ]]; do
    grep -q "^ended $number " "$directory/$terminal" && return 1
    ((SECONDS < deadline)) || return 1
    sleep 0.01
  done
}

# types NUMBER TERMINAL ends|waits: the step on stdin.
types() {
  local number=$1 terminal=$2 sql
  sql=$(cat)
  printf '\n%s. %s\n%s\n' "$number" "$terminal" "$sql"
  printf '\\warn began %s\n%s\n\\warn ended %s :SQLSTATE :ROW_COUNT\n' "$number" "$sql" "$number" \
    >&"${keyboard[$terminal]}"
  [[ $3 == ends ]] || waits "$number" "$terminal"
}

# The victim of a deadlock has waited, however soon it was over.
waits() {
  if until_waiting "$1" "$2" || grep -q "^ended $1 40P01 " "$directory/$2"; then
    printf '  %s: <waiting ...>\n' "$2"
  else
    differs "step $1 does not wait"
  fi
}

# ends NUMBER TERMINAL SQLSTATE ROWS: waits for its end, prints what it printed, and compares; '-' is whatever it may be.
ends() {
  local number=$1 terminal=$2 state rows
  until_written "$terminal" "^ended $number " || { differs "step $number does not end"; verdict; }
  read -r state rows < <(sed -n "s/^ended $number //p" "$directory/$terminal")
  output "$number" "$terminal" | sed "s/^/  $terminal: /"
  printf '  %s: step %s ended, %s, rows: %s\n' "$terminal" "$number" "$state" "$rows"
  [[ $3 == - || $3 == "$state" ]] || differs "expected SQLSTATE $3"
  [[ $4 == - || $4 == "$rows" ]] || differs "expected rows: $4"
}

output() { sed -n "/^began $1\$/,/^ended $1 /{/^began $1\$/d;/^ended $1 /d;p}" "$directory/$2"; }

answers() { output "$1" "$2" | grep -qxF -- "$3" || differs "step $1: expected the row $3"; }

told() { printf '  %s\n' "$1"; }

# expects QUERY: the rows on stdin.
expects() {
  printf '\n%s\n' "$1"
  if diff <(LC_ALL=C sort) <(PGTZ=UTC ask "$1" | LC_ALL=C sort) >"$directory/diff"; then
    PGTZ=UTC ask "$1" | sed 's/^/  /'
  else
    sed 's/^/  /' "$directory/diff"
    differs 'rows: < as recorded, > now'
  fi
}

expects_some() {
  printf '\n%s\n' "$1"
  local rows
  rows=$(ask "$1")
  printf '%s\n' "$rows"
  [[ -n $rows ]] || differs 'expected a row'
}

verdict() {
  if ((differences)); then
    printf '\n%s did not show: %s differences\n' "$what" "$differences"
    exit 1
  fi
  printf '\n%s showed\n' "$what"
  exit 0
}

# STEPS
