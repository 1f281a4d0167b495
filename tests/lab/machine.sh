# The machine of the lab, to be sourced: how QEMU and the kernel are started, by lab.sh and pack.sh.
# shellcheck shell=bash disable=SC2034 # they use it

# Without quiet and loglevel the kernel's lines would land amid those of the tests; a panic speaks up
# regardless. The watchdogs would take a slow host for a hung one. An expedited RCU makes and
# destroys VMs in a fraction of the time, which a benchmark must not have for nothing (LAB_RCU=default),
# and the second line saves a third of the boot. The kernel does not claim nokaslr and hands it to init,
# as it does with such a word of a user.
kernel_words='console=ttyS0 quiet loglevel=1 panic=-1 nowatchdog rcupdate.rcu_cpu_stall_suppress=1
    mitigations=off tsc=reliable init_on_alloc=0 cryptomgr.notests nokaslr'
kernel_words=${kernel_words//$'\n'/ }
case ${LAB_RCU:-expedited} in
expedited) kernel_words+=' rcupdate.rcu_expedited=1' ;;
default) ;;
*)
    echo "lab: LAB_RCU: expedited or default ($LAB_RCU)" >&2
    exit 64
    ;;
esac

# No ERMS: with it the kernel clears and copies pages by REP STOSB and MOVSB, which TCG does byte by byte, eight
# times as slowly as by quadwords. No LA57: few hosts have five levels of page tables, and TCG walks each.
qemu_cpu='max,+svm,+npt,-erms,-la57'
# Not -nographic: with it the firmware talks on the serial line, before and into the first BEGIN.
qemu_words=(-accel tcg -cpu "$qemu_cpu" -m "${LAB_MEMORY:-1024}" -smp 1 -display none -nodefaults -no-user-config
    -no-reboot)
