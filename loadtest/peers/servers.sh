# The servers under test, for run.sh: how each is started, and where it listens.
# shellcheck shell=bash disable=SC2154

# start_server NAME CORES: starts it on those cores (empty: on all) and sets server_pids.
start_server() {
  local name=$1 cores=$2 threads=''
  case $name in
    sidestream | sidestream-*)
      # sidestream-1 has one worker thread, sidestream as many as it has cores.
      [[ $name == sidestream-* ]] && threads=${name#sidestream-}
      PEERS_THREADS=$threads PEERS_DIR=$work PEERS_PLAIN=$plain PEERS_TLS=$tls PEERS_SOURCE=$source_port \
        PEERS_ORIGIN=$origin PEERS_ADMIN=$admin \
        launch "$name" "$cores" "$plain" "$sidestream" run --config "$here/conf/sidestream.yaml"
      server_pids=("$launched")
      ;;
    floor-*)
      launch "$name" "$cores" "$plain" "$loadtest" floor --per "${name#floor-}" \
        --listen "127.0.0.1:$plain" --upstream "http://127.0.0.1:$source_port/events"
      server_pids=("$launched")
      ;;
    nchan | nginx)
      launch "$name" "$cores" "$plain" nginx -c "$work/$name.conf"
      # The work is done by the worker; its master sleeps.
      mapfile -t server_pids < <(pgrep -P "$launched")
      ;;
    haproxy)
      launch "$name" "$cores" "$plain" haproxy -db -f "$work/haproxy.cfg"
      server_pids=("$launched")
      ;;
    caddy)
      # It keeps a folder of its own.
      XDG_CONFIG_HOME=$work XDG_DATA_HOME=$work \
        launch "$name" "$cores" "$plain" caddy run --adapter caddyfile --config "$work/Caddyfile"
      server_pids=("$launched")
      ;;
    *) fail "no server \`$name\`" ;;
  esac
}

# The URL of a server for a way to connect: h1, h2, h1tls, h2tls.
url_of() {
  local name=$1 way=$2
  case $name:$way in
    *:h?tls) printf 'https://127.0.0.1:%s/events\n' "$tls" ;;
    # These have a port of its own for HTTP/2 without TLS.
    nchan:h2 | nginx:h2 | haproxy:h2 | caddy:h2) printf 'http://127.0.0.1:%s/events\n' "$h2c" ;;
    *) printf 'http://127.0.0.1:%s/events\n' "$plain" ;;
  esac
}

# How events reach a server.
way_in() {
  case $1 in
    nchan) printf -- '--post\nhttp://127.0.0.1:%s/publish\n' "$plain" ;;
    *) printf -- '--listen\n127.0.0.1:%s\n' "$source_port" ;;
  esac
}

# launch NAME CORES PORT COMMAND...: runs it and waits until it listens; sets launched.
launch() {
  local name=$1 cores=$2 port=$3
  shift 3
  is_open "$port" && fail "port $port is taken"
  ${cores:+taskset -c "$cores"} "$@" >"$work/$name.out" 2>&1 &
  launched=$!
  started+=("$launched")
  wait_open "$launched" "$name" "$port" "$work/$name.out"
}

# Certificate and configuration files in the working folder.
prepare() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
    -keyout "$work/server.key" -out "$work/server.crt" 2>/dev/null || fail "openssl made no certificate"
  cat "$work/server.crt" "$work/server.key" >"$work/server.pem"
  local kilobyte file
  kilobyte=$(printf 'x%.0s' {1..1024})
  for file in common.conf nchan.conf nginx.conf origin.conf haproxy.cfg Caddyfile; do
    sed -e "s|@DIR@|$work|g" -e "s/@PLAIN@/$plain/g" -e "s/@H2C@/$h2c/g" -e "s/@TLS@/$tls/g" \
      -e "s/@SOURCE@/$source_port/g" -e "s/@ORIGIN@/$origin/g" -e "s/@KILOBYTE@/$kilobyte/" \
      "$here/conf/$file" >"$work/$file"
  done
}
