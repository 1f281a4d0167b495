#!/bin/bash
# Saved guests that answer requests through a pipe: values, errors, restores, and how it ends.
# shellcheck disable=SC2016 # what stands in single quotes is for jq to expand
set -u
# What serve at the end of a pipeline sets is for the checks after it.
shopt -s lastpipe
. "$(dirname "$0")/lib.sh"

if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }; then
    skip "requests to a saved guest on this host" "no /dev/kvm here (lab)"
    done_testing
    exit 0
fi

# Requests on stdin; answers in $tmp/out, one a line.
serve() { # options and snapshot
    timeout -k 5 "${limit:-60}" "$VMM" serve "$@" >"$tmp/out" 2>"$tmp/err"
    status=$?
    out=$(tr -d '\0' <"$tmp/out")
    err=$(tr -d '\0' <"$tmp/err")
}

# A filter that is true of the array of all answers.
says() { # filter, jq's options...
    local filter=$1

    shift
    [ "$status" = 0 ] && jq -es "$@" "$filter" "$tmp/out"
}

wait_gone() { # pid: it ends within three seconds
    local i

    for ((i = 0; i < 300; i++)); do
        # A zombie has ended: its parent, this script, has not asked yet.
        grep -qs '^State:.[^Z]' "/proc/$1/status" || return 0
        sleep 0.01
    done
    return 1
}

wait_busy() { # pid: it does something, or is in an ioctl (number 16); it does not wait for a request
    local i at

    for ((i = 0; i < 1000; i++)); do
        read -r at _ <"/proc/$1/syscall"
        case $at in
        running | 16) sleep 0.1 && return ;;
        esac
        sleep 0.01
    done
    return 1
}

call() { # function, members after the call
    printf '{"call":"%s"%s}\n' "$1" "${2-}"
}

for kind in amd64 i686-identity; do
    run "$VMM" snapshot -o "$tmp/$kind" "$SAMPLES/calls-$kind.elf"
    check "$kind: a guest with functions is saved" [ "$status" = 0 ]

    serve "$tmp/$kind" <<<'{"call":"add","args":[{"type":"int","value":2},{"type":"int","value":40}],"id":"me"}'
    check "$kind: add 2 40 is 42" says '.[0] | .id == "me" and .ok and .result == {type: "int", value: 42}'
    check "$kind: an answer says how long it took, and nothing that does not apply" \
        says '.[0] | keys == ["id", "ok", "result", "us"] and .us > 0'
    check "$kind: the end of the requests ends with 0 and without a word" [ "$status:$err" = 0: ]

    {
        call count
        call count
        call count ',"restore":false'
        call count ',"restore":false'
        call count ',"restore":true'
    } | serve "$tmp/$kind"
    check "$kind: each call is of a fresh guest, unless told otherwise" says '[.[].result.value] == [1, 1, 2, 3, 1]'

    {
        for failing in give_up undefined crash halt; do
            call count ',"restore":false'
            call $failing ',"restore":false'
        done
        call count ',"restore":false'
        call fail
        call none
        call count ',"restore":false'
    } | serve "$tmp/$kind"
    check "$kind: a guest that came to an end is restored whatever the request says" \
        says '[.[0, 2, 4, 6, 8].result.value] == [1, 1, 1, 1, 1]'
    check "$kind: an abort is told with its code and text" \
        says '.[1].error == {reason: "aborted", code: 15, name: "guest error", message: "gave up in a call"}'
    check "$kind: an exception with its number" says '.[3].error | .reason == "aborted" and .exception == 6'
    check "$kind: a broken protocol as a fault" says '.[7].error | .reason == "faulted" and .code == 139'
    check "$kind: an error of the guest with its code and text" \
        says '.[9].error == {reason: "call-error", code: 15, name: "guest error", message: "failed as asked"}'
    check "$kind: an unknown function is error 4" says '.[10].error | .reason == "call-error" and .code == 4'
    check "$kind: neither of which needs a restore" says '.[11].result.value == 1'
done

refused "a snapshot that is not there is status 127" 127 'cannot open' "$VMM" serve "$tmp/none"
refused "an image is no snapshot" 126 '' "$VMM" serve "$SAMPLES/calls-amd64.elf"

# --- several snapshots ---------------------------------------------------------------------------
of() { # snapshot, function, members after the call
    call "$2" ",\"snapshot\":\"$1\"${3-}"
}

# How many machines it takes to answer what is in $tmp/in.
machines() { # snapshots
    timeout -k 5 60 strace -o "$tmp/trace" -e trace=ioctl "$VMM" serve "$@" <"$tmp/in" >"$tmp/out" 2>"$tmp/err"
    grep -c KVM_CREATE_VM "$tmp/trace"
}

for kind in amd64 i686-identity; do
    # Two of a shape, one of another; what their guests have counted tells them from each other.
    for made in one:1:128K two:2:128K other:0:256K; do
        IFS=: read -r name n heap <<<"$made"
        calls=()
        for ((i = 0; i < n; i++)); do calls+=(--call count); done
        run "$VMM" snapshot --heap "$heap" "${calls[@]}" -o "$tmp/$name" "$SAMPLES/calls-$kind.elf"
        check "$kind: a guest is saved after $n calls" [ "$status" = 0 ]
    done
    files=("$tmp/one" "$tmp/two" "$tmp/other")

    {
        call count
        for name in two one two other one other two two; do of "$tmp/$name" count; done
        call count
    } >"$tmp/in"
    for cow in guest host; do
        serve --cow "$cow" "${files[@]}" <"$tmp/in"
        check "$kind, the $cow copying: each request is answered by the guest it names, or the first" \
            says '[.[].result.value] == [2, 3, 2, 3, 1, 2, 1, 3, 3, 2]'
    done
    {
        for name in one one two two two other other one; do of "$tmp/$name" count ',"restore":false'; done
        call count ',"restore":false'
        of "$tmp/two" count ',"restore":false'
    } | serve "${files[@]}"
    check "$kind: a guest goes on only as long as nobody asks for another" \
        says '[.[].result.value] == [2, 3, 3, 4, 5, 1, 2, 2, 3, 3]'
    {
        of "$tmp/one" count ',"restore":false'
        for failing in crash halt give_up; do
            of "$tmp/two" "$failing" ',"restore":false'
            of "$tmp/one" count ',"restore":false'
            of "$tmp/one" count ',"restore":false'
        done
        of "$tmp/two" count ',"restore":false'
        of "$tmp/none" count
        of "$tmp" count
        call count ',"restore":false,"snapshot":""'
        call count ',"restore":false,"snapshot":"'"$tmp"'/two\u0000"'
        of "$tmp/two" count ',"restore":false'
        of "$tmp/two" count ',"restore":false,"snapshot":"'"$tmp"'/one"'
        of "$tmp/two" count ',"restore":false'
    } | serve "${files[@]}"
    check "$kind: what ends one guest is nothing to another" \
        says '[.[0, 2, 3, 5, 6, 8, 9, 10].result.value] == [2, 2, 3, 2, 3, 2, 3, 3] and
            all(.[1, 4, 7]; .ok == false)'
    check "$kind: a name that was not given is a bad request that names it" \
        says '(.[11:15] | all(.error.reason == "bad-request")) and
            .[11].error.message == "request: snapshot: none of that name (\($name))"' --arg name "$tmp/none"
    check "$kind: which no guest has seen, nor one with two names" \
        says '.[15].result.value == 4 and .[16].error.reason == "bad-request" and .[17].result.value == 5'

    call count >"$tmp/in"
    one=$(machines "$tmp/one")
    for name in two one two one two; do of "$tmp/$name" count; done >"$tmp/in"
    two=$(machines "$tmp/one" "$tmp/two")
    check "$kind: a machine takes all snapshots of a shape ($two made, $one for one)" [ "$one" -gt 0 -a "$two" = "$one" ]
    check "$kind: as before" jq -es '[.[].result.value] == [3, 2, 3, 2, 3]' "$tmp/out"
done

refused "a file among others that is not there ends it at the start" 127 "$tmp/none: cannot open" \
    "$VMM" serve "$tmp/one" "$tmp/none" "$tmp/two"
refused "so does one that is no snapshot" 126 "$SAMPLES/calls-amd64.elf: " "$VMM" serve "$tmp/one" "$SAMPLES/calls-amd64.elf"
files=()
for ((i = 0; i < 64; i++)); do files+=("$tmp/one"); done
serve "${files[@]}" < <(call count)
check "64 files are taken" says '.[0].result.value == 2'
refused "65 are too many" 64 'serve: too many files \(65, at most 64\)' "$VMM" serve "${files[@]}" "$tmp/one"

snap=$tmp/amd64
: >"$tmp/in"
: >"$tmp/want"
echo_of() { # type, value as JSON, result as JSON if it is not the value
    call "echo_$1" ",\"args\":[{\"type\":\"$1\",\"value\":$2}]" >>"$tmp/in"
    printf '"result":{"type":"%s","value":%s}\n' "$1" "${3-$2}" >>"$tmp/want"
}
echo_of int -2147483648
echo_of uint 4294967295
echo_of long -9223372036854775808
echo_of long '"9223372036854775807"' 9223372036854775807
echo_of ulong 18446744073709551615
echo_of ulong '"9007199254740993"' 9007199254740993
echo_of float -0.0 '-0,"bits":"0x80000000"'
echo_of float '"nan(0xffc12345)"' 'null,"bits":"0xffc12345"'
echo_of double 5e-324 '4.94065645841247e-324,"bits":"0x0000000000000001"'
echo_of double '"-inf"' 'null,"bits":"0xfff0000000000000"'
echo_of bool true
echo_of bool false
echo_of string '""'
echo_of string '"Gr\u00fc\u00dfe\n\ud83d\ude00\u0000\"\\"' '"Grüße\u000a😀\u0000\"\\"'
echo_of bytes '""'
echo_of bytes '"00FF7f"' '"00ff7f"'
serve "$snap" <"$tmp/in"
grep -ao '"result":{[^}]*}' "$tmp/out" >"$tmp/got"
check "values of every type come back to the last bit" cmp "$tmp/got" "$tmp/want"

{
    call print ',"args":[{"type":"string","value":"{\"id\":1}\ntwo \u00e9"}]'
    call add ',"args":[{"type":"int","value":1},{"type":"int","value":1}]'
} | serve "$snap"
check "what the guest prints is a member of its answer" says '.[0].output == "{\"id\":1}\ntwo é" and .[0].ok'
check "and of no other" says '(length == 2) and (.[1] | has("output") | not)'

# A guest is told at its start what to log.
run "$VMM" snapshot --log-level trace -o "$tmp/logs" "$SAMPLES/calls-amd64.elf"
call logs | serve --log-level trace "$tmp/logs"
check "log records go to stderr" [ "$status:$(grep -c '^guest: ' "$tmp/err")" = 0:6 ]
check "and not between the answers" says 'length == 1 and .[0].ok'

# Whatever is sent, there is one answer, and the next request finds a guest.
cat >"$tmp/in" <<'END'

{
{"call":"count","id":1}}
{"call":"count","id":2,"what":1}
{"call":"count","id":3,"restore":1}
{"call":7,"id":4}
["call"]
{"call":"count","id":[5]}
{"call":"count","args":[{"type":"int","value":2147483648}],"id":6}
{"call":"count","args":[{"type":"bytes","value":"@/etc/passwd"}],"id":7}
{"call":"count","args":[{"type":"string","value":"\ud800"}],"id":8}
{"call":"count","call":"count","id":9}
[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
END
printf '\xff\0\x80\n{"call":"count","id":\0}\n' >>"$tmp/in"
n=$(wc -l <"$tmp/in")
call count >>"$tmp/in"
serve "$snap" <"$tmp/in"
check "each line that is no request gets an answer that says so" \
    says '(.[:-1] | length == $n and all(.error.reason == "bad-request" and .error.code == 64 and .ok == false))' --argjson n "$n"
check "with the id, where it has one" says '[.[3, 4, 5, 8, 9].id] == [2, 3, 4, 6, 7] and .[0].id == null'
check "and a request after them is served" says '.[-1].result.value == 1'
call echo_string ',"args":[{"type":"string","value":"'"$(head -c 20000 /dev/zero | tr '\0' x)"'"}],"id":1' >"$tmp/in"
call count ',"restore":false' >>"$tmp/in"
serve "$snap" <"$tmp/in"
check "arguments that do not fit the guest are a bad request, with a hint" \
    says '.[0].error | .reason == "bad-request" and .hint == "give a larger --input"'
check "which the guest has not seen" says '.[1].result.value == 1'

# Lines up to 16 MiB: blanks are JSON too.
max=$((16 << 20))
request='{"call":"count"}'
{
    printf '%s%*s\n' "$request" $((max - ${#request})) ''
    printf '%s%*s\n' "$request" $((max - ${#request} + 1)) ''
    printf '%*s%s\n' $((2 * max)) '' "$request"
    printf '%s\n%s' "$request" "$request"
} | serve "$snap"
check "a line of 16 MiB is read, a longer one is an answer of its own" \
    says '[.[].ok] == [true, false, false, true, true] and
    all(.[1, 2].error.message; . == "request: line too long (at most 16777216 bytes)")'
check "the last line needs no newline" says 'length == 5'

# Where KVM emulates the guest, so much output takes it a minute: for make soak. The limit itself is a unit test's.
if [ "${TEST_SCALE:-1}" != 1 ]; then
    run "$VMM" snapshot --input 4M --output 4M --scratch 32M -o "$tmp/large" "$SAMPLES/calls-amd64.elf"
    {
        for n in 0 1; do
            head -c $(((1 << 20) + n)) /dev/zero | tr '\0' x | jq -cRs '{call: "print", args: [{type: "string", value: .}]}'
        done
        call count
    } | limit=600 serve "$tmp/large"
    check "1 MiB of output is all there, of more the first MiB, and it says so" \
        says '[.[] | [(.output // "" | length), .output_truncated]] == [[1048576, null], [1048576, true], [0, null]]'
fi

start=$(date +%s%N)
{
    call spin
    call count ',"restore":false'
} | serve --timeout 1s "$snap"
elapsed=$((($(date +%s%N) - start) / 1000000))
check "a call that spins meets the time limit" says '.[0].error | .reason == "timeout" and .code == 124'
check "in time ($elapsed ms)" [ "$elapsed" -ge 1000 -a "$elapsed" -lt 2500 ]
check "and the next one a fresh guest" says '.[1].result.value == 1'

# --- one at a time, as a client does -------------------------------------------------------------
mkfifo "$tmp/to" "$tmp/from"

begin() { # options and snapshot: requests to descriptor 7, answers from 8, $pid
    # A background job of a script ignores SIGINT; this one must not.
    env --default-signal=INT "$VMM" serve "$@" <"$tmp/to" >"$tmp/from" 2>"$tmp/err" 7>&- 8>&- &
    pid=$!
    exec 7>"$tmp/to" 8<"$tmp/from"
}

finish() { # how it ended
    wait_gone $pid || kill -KILL $pid
    wait $pid
    status=$?
    exec 7>&- 8>&-
    out=${answer-}
    err=$(cat "$tmp/err")
}

ask() {
    call "$@" >&7
    read -r -t 20 answer <&8
}

for signal in INT:130 TERM:143 HUP:143; do
    begin "$snap"
    ask count
    kill -s "${signal%:*}" $pid
    check "SIG${signal%:*} ends it while it waits" wait_gone $pid
    finish
    check "with ${signal#*:} and no word" [ "$status:$err" = "${signal#*:}:" ]

    begin "$snap"
    ask count
    call spin ',"id":1' >&7
    call count ',"id":2' >&7
    wait_busy $pid
    kill -s "${signal%:*}" $pid
    mapfile -t -u 8 answers
    check "SIG${signal%:*} ends it while a guest runs" wait_gone $pid
    finish
    check "with ${signal#*:} and the answer to what it was at, no other" \
        jq -en --argjson s "$status" --argjson want "${signal#*:}" '[inputs] | map(.id) == [1] and
            .[0].error.reason == "signal" and .[0].error.code == $want and $s == $want' <<<"${answers[*]}"
done

# A full pipe that nobody reads, and a stop: the answer is given up.
begin "$snap"
for ((i = 0; i < 40; i++)); do
    printf '{"call":"none","id":"%s"}\n' "$(head -c 4000 /dev/zero | tr '\0' x)"
done >"$tmp/in"
cat "$tmp/in" >&7 &
filler=$!
for ((i = 0; i < 500; i++)); do
    # Waiting in write, as its only system call: number 1.
    sleep 0.02
    [ "$(cut -d' ' -f1 "/proc/$pid/syscall")" != 1 ] || break
done
kill -s TERM $pid
check "a stop ends the wait for a client that does not read" wait_gone $pid
finish
wait $filler
check "and is what it ends with" [ "$status" = 143 ]

begin "$snap"
ask count
exec 8>&-
check "a client that closes its end ends it" wait_gone $pid
finish
check "with 125 and one line" [ "$status:$err" = '125:vmm: standard output: the client has closed it' ]

begin "$snap"
ask count
exec 8>&-
# It may have noticed, and be gone, before the request is there.
call count 2>/dev/null >&7
wait_gone $pid
finish
check "also when it asks for something more" [ "$status:$err" = '125:vmm: standard output: the client has closed it' ]

# Small guests of the identity kind are copied from their file at each restore.
cp --no-preserve=mode "$tmp/two" "$tmp/shrink"
begin "$tmp/one" "$tmp/shrink"
ask count
truncate -s 65536 "$tmp/shrink"
ask count ",\"snapshot\":\"$tmp/shrink\""
finish
check "a file that shrinks ends it with its own name, whichever was loaded" \
    [ "$status:$err" = "125:vmm: $tmp/shrink: shrank while it was in use" ]

# The client is one process that holds both pipes and dies in the middle of things.
die_during() { # request, options and snapshot
    local request=$1 client i

    shift
    "$VMM" serve "$@" <"$tmp/to" >"$tmp/from" 2>"$tmp/err" &
    pid=$!
    rm -f "$tmp/answered"
    bash -c 'exec 7>"$1" 8<"$2"; printf "%s\n" "{\"call\":\"count\"}" "$3" >&7
        read -r -u 8 && : >"$4"; exec sleep 100' - "$tmp/to" "$tmp/from" "$request" "$tmp/answered" &
    client=$!
    for ((i = 0; i < 1000; i++)); do
        [ ! -e "$tmp/answered" ] || break
        sleep 0.01
    done
    # Into the request after it; the first answer is the proof that both were sent.
    sleep 0.3
    kill -KILL $client
    wait $client 2>/dev/null
}

die_during '{"call":"spin"}' "$snap"
check "a client that is killed leaves no spinning guest behind" wait_gone $pid
finish
check "and 125 says why" [ "$status:$err" = '125:vmm: standard output: the client has closed it' ]

die_during '{"call":"ask_string","args":[{"type":"string","value":"slow"},{"type":"string","value":"x"}]}' \
    --host-fn "slow=sleep $((100000 + $$))" "$snap"
nobody_sleeps() { ! grep -qszE "^0*$((100000 + $$))\$" /proc/[0-9]*/cmdline; }
check "nor a command" wait_gone $pid
check "that a guest waits for" nobody_sleeps
finish
check "and 125 says why" [ "$status" = 125 ]

# --- many ------------------------------------------------------------------------------------------
many=$((2000 * ${TEST_SCALE:-1}))
request_of() { # number
    case $(($1 % 8)) in
    0) call count ",\"id\":$1" ;;
    1) call count ",\"id\":$1,\"restore\":false" ;;
    2) call print ",\"id\":$1,\"args\":[{\"type\":\"string\",\"value\":\"$1\\n\"}]" ;;
    3) call fail ",\"id\":$1" ;;
    4) call give_up ",\"id\":$1" ;;
    5) call halt ",\"id\":$1,\"restore\":false" ;;
    6) call count ",\"id\":$1,\"what\":1" ;;
    7) call add ",\"id\":$1,\"restore\":false,\"args\":[{\"type\":\"int\",\"value\":$1},{\"type\":\"int\",\"value\":1}]" ;;
    esac
}

exchange() { # from, to: the requests with these numbers, their answers to $tmp/answers
    local i answers

    for ((i = $1; i < $2; i++)); do request_of "$i"; done >&7 &
    mapfile -n $(($2 - $1)) -u 8 answers
    printf '%s' "${answers[@]}" >>"$tmp/answers"
    wait $!
}

# Resident KiB and open descriptors.
size() {
    rss=$(awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status")
    fds=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
}

turns() { # number
    local i

    for ((i = 0; i < 3 * $1; i++)); do
        ask count ",\"snapshot\":\"$tmp/$(cut -d' ' -f$((i % 3 + 1)) <<<'two other one')\""
    done
}

begin "$tmp/one" "$tmp/two" "$tmp/other"
turns 5
size
rss_before=$rss fds_before=$fds
turns 20
size
exec 7>&-
finish
check "guests that take turns do not add memory ($rss_before to $rss KiB)" [ "$rss" -le $((rss_before + 128)) ]
check "or descriptors ($fds_before to $fds)" [ "$fds" = "$fds_before" ]
check "and answer to the last ($status)" json '.result.value == 2' <<<"$answer"

: >"$tmp/answers"
begin "$snap"
exchange 0 200
size
rss_before=$rss fds_before=$fds
exchange 200 "$many"
size
exec 7>&-
finish
check "$many requests are answered in order" \
    jq -es --argjson n "$many" '[.[].id] == [range($n)]' "$tmp/answers"
check "each with what it asked for" jq -es 'all(.[];
    if .id % 8 == 0 then .result.value == 1 elif .id % 8 == 1 then .result.value == 2
    elif .id % 8 == 2 then .output == "\(.id)\n" elif .id % 8 == 3 then .error.reason == "call-error"
    elif .id % 8 == 4 then .error.reason == "aborted" elif .id % 8 == 5 then .error.reason == "faulted"
    elif .id % 8 == 6 then .error.reason == "bad-request" else .result.value == .id + 1 end)' "$tmp/answers"
check "without growth of memory ($rss_before to $rss KiB)" [ "$rss" -le $((rss_before + 128)) ]
check "or of descriptors ($fds_before to $fds)" [ "$fds" = "$fds_before" ]
check "and end with 0" [ "$status" = 0 ]

done_testing
