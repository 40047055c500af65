// Words of fstab as mount(2) has them. Pure.

/** Words that are flags. */
const flags: Record<string, number> = {
  ro: 0x1,
  nosuid: 0x2,
  nodev: 0x4,
  noexec: 0x8,
  sync: 0x10,
  remount: 0x20,
  mand: 0x40,
  dirsync: 0x80,
  noatime: 0x400,
  nodiratime: 0x800,
  bind: 0x1000,
  rbind: 0x5000,
  silent: 0x8000,
  unbindable: 0x2_0000,
  private: 0x4_0000,
  rprivate: 0x4_4000,
  slave: 0x8_0000,
  rslave: 0x8_4000,
  shared: 0x10_0000,
  rshared: 0x10_4000,
  relatime: 0x20_0000,
  strictatime: 0x100_0000,
  lazytime: 0x200_0000,
}

/** Words that take a flag away, which an earlier word may have set. */
const opposites: Record<string, number> = {
  rw: 0x1,
  suid: 0x2,
  dev: 0x4,
  exec: 0x8,
  async: 0x10,
  nomand: 0x40,
  atime: 0x400,
  diratime: 0x800,
  loud: 0x8000,
  norelatime: 0x20_0000,
  nostrictatime: 0x100_0000,
  nolazytime: 0x200_0000,
  defaults: 0x1 | 0x2 | 0x4 | 0x8 | 0x10,
}

/** Words for those who read fstab, and not for the kernel. */
const forOthers = /^(auto|noauto|nofail|_netdev|users?|nousers?|owner|noowner|group|nogroup|comment=.*|x-.*|X-.*)$/

/** The flags, and the words that go to the file system itself. Of two that contradict each other the later one counts. */
export function mountWords(options: readonly string[]): { flags: number; data: string } {
  let sum = 0
  const own: string[] = []
  for (const word of options) {
    if (word in flags) sum |= flags[word] ?? 0
    else if (word in opposites) sum &= ~(opposites[word] ?? 0)
    else if (word !== '' && !forOthers.test(word)) own.push(word)
  }
  return { flags: sum, data: own.join(',') }
}
