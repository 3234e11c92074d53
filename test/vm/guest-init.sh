#!/bin/busybox sh
# The only program of the virtual machine: attaches the export by the kernel's own client, makes a
# file system on it, works in it, and says on the console what the files' checksums are. The port
# comes from the kernel's command line (nbd_port=N); the host is 10.0.2.2 in qemu's own network.
export PATH=/bin
/bin/busybox --install -s /bin

fail() {
  echo "VM-FAILED: $*"
  dmesg | tail -20
  poweroff -f
}
step() {
  echo "VM: $*"
  "$@" || fail "$@"
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do
  insmod "/modules/$module" || fail "insmod $module"
done
step ip link set eth0 up
step ip addr add 10.0.2.15/24 dev eth0

step nbd-client 10.0.2.2 "$nbd_port" /dev/nbd0 -timeout 60
step mkfs.ext4 -q -E lazy_itable_init=0 /dev/nbd0
step mount -o discard /dev/nbd0 /mnt

seq 1 200000 > /mnt/numbers || fail write
dd if=/dev/urandom of=/mnt/random bs=1M count=12 2>&1 || fail write
dd if=/dev/urandom of=/mnt/removed bs=1M count=8 2>&1 || fail write
for i in $(seq 1 120); do echo "small file $i" > "/mnt/small-$i" || fail write; done
sync
echo changed | dd of=/mnt/random bs=4096 seek=700 conv=notrunc 2>&1 || fail overwrite
dd if=/dev/urandom of=/mnt/random bs=4096 seek=1111 count=99 conv=notrunc,fsync 2>&1 || fail overwrite
rm /mnt/removed /mnt/small-1*
step truncate -s 1M /mnt/numbers
step sync
step fstrim /mnt
step umount /mnt
step nbd-client -d /dev/nbd0

# Again, as old clients do (no NBD_OPT_GO), and from the disk, not from memory.
step nbd-client -no-optgo 10.0.2.2 "$nbd_port" /dev/nbd0 -timeout 60
step mount -o ro /dev/nbd0 /mnt
cd /mnt || fail cd
for file in *; do
  [ -f "$file" ] && echo "VM-SUM: $(sha256sum "$file")"
done
cd /
step umount /mnt
step nbd-client -d /dev/nbd0
echo VM-OK
poweroff -f
