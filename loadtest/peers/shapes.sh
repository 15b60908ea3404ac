# The shapes, for run.sh: who is measured, how they are connected to, and what is asked of them.
# shellcheck shell=bash disable=SC2034

all_shapes=(
  sat1k-w1 sat15k-w1 sat1k-w64 sat5k-w64
  h2-50x100-w1 h2-50x100-w64 h2-5000x1-w1 h2tls-50x100 h1tls-2000
  paced connects pass shards
  memory-h1 memory-h2 memory-h1tls memory-h2tls-1 memory-h2tls-3
  million mixed65k
)

# shape NAME: sets kind (bench, memory, pass), way, servers and args. Server and load have a core each
# unless server_cores and load_cores are empty.
shape() {
  kind=bench way=h1 server_cores=0 load_cores=1 args=()
  local per_connection=--streams-per-connection
  case $1 in
    sat1k-w1) servers=(sidestream floor-event nchan) args=(--h1 1000 --window 1) ;;
    sat15k-w1) servers=(sidestream floor-event nchan) args=(--h1 15000 --window 1) ;;
    sat1k-w64) servers=(sidestream floor-read nchan) args=(--h1 1000 --window 64) ;;
    sat5k-w64) servers=(sidestream floor-read nchan) args=(--h1 5000 --window 64) ;;
    h2-50x100-w1)
      way=h2 servers=(sidestream floor-event nchan) args=(--h2 5000 --window 1)
      ;;
    h2-50x100-w64)
      way=h2 servers=(sidestream floor-read nchan) args=(--h2 5000 --window 64)
      ;;
    h2-5000x1-w1)
      way=h2 servers=(sidestream floor-event nchan) args=(--h2 5000 $per_connection 1 --window 1)
      ;;
    h2tls-50x100) way=h2tls servers=(sidestream nchan) args=(--h2 5000 --window 64) ;;
    h1tls-2000) way=h1tls servers=(sidestream nchan) args=(--h1 2000 --window 1) ;;
    paced) servers=(sidestream floor-event nchan) args=(--h1 5000 --rate 10) ;;
    connects) servers=(sidestream floor-event nchan) args=(--h1 10000 --duration 0) ;;
    pass) kind=pass servers=(sidestream nginx) ;;
    # As many workers as there are cores and one, on the same cores as the load.
    shards)
      server_cores='' load_cores='' servers=(sidestream sidestream-1)
      args=(--h1 5000 --window 1)
      ;;
    memory-h1) kind=memory servers=(sidestream) args=(--small 1000 --large 9000) ;;
    memory-h2)
      kind=memory way=h2 servers=(sidestream) args=(--protocol h2 --small 5000 --large 55000)
      ;;
    memory-h1tls) kind=memory way=h1tls servers=(sidestream) args=(--small 500 --large 4500) ;;
    memory-h2tls-1)
      kind=memory way=h2tls servers=(sidestream)
      args=(--protocol h2 $per_connection 1 --small 500 --large 4500)
      ;;
    memory-h2tls-3)
      kind=memory way=h2tls servers=(sidestream)
      args=(--protocol h2 $per_connection 3 --small 1500 --large 13500)
      ;;
    million)
      way=h2 server_cores='' load_cores='' servers=(sidestream)
      args=(--h2 1000000 --rate 1 --warmup 5 --duration 60 --connect-timeout 120)
      ;;
    mixed65k)
      way=h2 server_cores='' load_cores='' servers=(sidestream)
      args=(--h1 15000 --h2 50000 --rate 5 --warmup 5 --duration 60)
      ;;
    *) fail "no shape \`$1\`; there are: ${all_shapes[*]}" ;;
  esac
}
