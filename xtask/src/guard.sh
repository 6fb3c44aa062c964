# The guard: cleans up after `cargo xtask`. It reads what there is to clean up, a line each, and acts when its
# input ends, which happens however the writer ends: by itself, by Ctrl-C, by kill -9.
trap '' HUP INT TERM
group= background= servers= scratch= policy=
while read -r what value; do
    case $what in
        group) group=$value ;;
        idle) group= ;;
        background) background="$background $value" ;;
        ended) background=$(for pid in $background; do [ "$pid" = "$value" ] || echo "$pid"; done) ;;
        scratch) scratch=$value ;;
        server) servers="$servers $value" ;;
        policy) policy=$value ;;
    esac
done

# Waits up to 5 s while the command given succeeds.
wait_while() {
    tries=0
    while "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -le 50 ] || return 1
        sleep 0.1
    done
}

if [ -n "$group" ]; then
    kill -TERM "-$group" 2>/dev/null
    wait_while kill -0 "-$group" || kill -KILL "-$group"
fi

for pid in $background; do kill -TERM "-$pid" 2>/dev/null; done
for pid in $background; do wait_while kill -0 "-$pid" || kill -KILL "-$pid"; done

if [ -n "$scratch" ]; then
    # SIGQUIT is an immediate shutdown: the data are thrown away, so nothing has to be written first.
    for pid in $servers; do kill -QUIT "$pid" 2>/dev/null; done
    # By the lock file, not the process: a stopped server may stay a zombie until its parent asks for it.
    any_lock() { ls "$scratch"/*/postmaster.pid; }
    wait_while any_lock || for pid in $servers; do kill -KILL "$pid"; done
    rm -rf -- "$scratch"
fi

if [ -n "$policy" ]; then
    if [ -e "$policy.before-xtask" ]; then mv -f "$policy.before-xtask" "$policy"; else rm -f "$policy"; fi
fi
