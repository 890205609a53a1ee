# Sourced by bench/table and bench/growth, in the project's root: whether what is asked for needs Kafka and Postgres.
# shellcheck shell=bash

# needs_engines ALONE VALUED ARGUMENT...: ALONE names what needs none, VALUED the options that a value follows.
needs_engines() {
  local alone=" $1 " valued=" $2 " named=0 argument skip=
  shift 2
  for argument; do
    if [ -n "$skip" ]; then skip=; continue; fi
    case $argument in
      -h | --help) return 1 ;;
      -*) [[ $valued == *" $argument "* ]] && skip=yes; continue ;;
    esac
    named=1
    [[ $alone == *" $argument "* ]] || return 0
  done
  [ "$named" = 0 ]
}
