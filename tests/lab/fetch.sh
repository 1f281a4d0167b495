# shellcheck shell=bash
# What kernel.sh and bare.sh share: Debian packages, downloaded and looked into without an installation.

# What a meta package stands for now: linux-image-686 -> linux-image-6.1.0-NN-686. Nothing if apt does
# not know it.
resolve_package() { # meta package, pattern of what it depends on
    { apt-cache depends "$1" 2>/dev/null || true; } |
        sed -n "/^ *Depends: $2\$/{s/^ *Depends: //p;q}"
}

download() { # folder package
    (cd "$1" && apt-get -q download "$2" >apt.log 2>&1 && ls "$2"_*.deb >/dev/null 2>&1)
}

# An unsigned number of $3 bytes at offset $2 of file $1.
number_at() {
    od -An -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

# The vmlinux in a bzImage: its payload, where its header says it is (Documentation/arch/x86/boot.rst:
# setup_sects, payload_offset, payload_length). The last 4 bytes are the length of what comes out.
# Status 1 if the payload is not of the compression that Debian uses.
unpack_vmlinux() { # bzImage, destination
    local offset length

    offset=$((($(number_at "$1" 0x1f1 1) + 1) * 512 + $(number_at "$1" 0x248 4)))
    length=$(($(number_at "$1" 0x24c 4) - 4))
    # tail reads from a file, not from a pipe that head would leave early.
    tail -c "+$((offset + 1))" "$1" >"$2.payload"
    truncate -s "$length" "$2.payload"
    if xz -dc "$2.payload" >"$2" 2>/dev/null; then
        rm -f "$2.payload"
    else
        rm -f "$2.payload" "$2"
        return 1
    fi
}
