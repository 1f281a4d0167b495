# The machine of the lab, to be sourced: how QEMU and the kernel are started, by lab.sh and pack.sh.
# shellcheck shell=bash disable=SC2034 # they use it

# Without quiet and loglevel the kernel's lines would land amid those of the tests; a panic speaks up
# regardless. The watchdogs would take a slow host for a hung one. An expedited RCU makes and
# destroys VMs in a fraction of the time, and the second line saves a third of the boot. The kernel
# does not claim nokaslr and hands it to init, as it does with such a word of a user.
kernel_words='console=ttyS0 quiet loglevel=1 panic=-1 nowatchdog rcupdate.rcu_cpu_stall_suppress=1
    rcupdate.rcu_expedited=1 mitigations=off tsc=reliable init_on_alloc=0 cryptomgr.notests nokaslr'
kernel_words=${kernel_words//$'\n'/ }

# Not -nographic: with it the firmware talks on the serial line, before and into the first BEGIN.
qemu_words=(-accel tcg -cpu 'max,+svm,+npt' -m "${LAB_MEMORY:-1024}" -smp 1 -display none -nodefaults -no-user-config
    -no-reboot)
