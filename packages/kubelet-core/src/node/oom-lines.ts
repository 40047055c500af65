// What the kernel's log tells of the process that it killed for want of memory on the machine. Pure.

export interface OomVictim {
  name: string
  pid: number
}

export interface OomReading {
  /** A kill was announced, and its victim was not told yet. */
  pending: boolean
  /** Whom the last line told of. */
  victim?: OomVictim
}

const announced = / invoked oom-killer: gfp_mask=/
const ofCgroup = /^Memory cgroup out of memory: /
/** Until 5.1 after a line of its own that says why; the name may have any characters. */
const killed = /^(?:Out of memory[^:]*: )?Killed process (\d+) \((.*)\)(?:, UID \d+,)? total-vm:/s

/**
 * Reads the next line of the kernel. Victims of a cgroup's limit are passed over: their container tells of them. So are those
 * that die with the first one (`memory.oom.group`), as in the Go kubelet.
 */
export function readOomLine({ pending }: OomReading, line: string): OomReading {
  if (announced.test(line)) return { pending: true }
  if (ofCgroup.test(line)) return { pending: false }
  const [, pid, name = ''] = killed.exec(line) ?? []
  if (pid === undefined) return { pending }
  return pending ? { pending: false, victim: { name, pid: Number(pid) } } : { pending: false }
}
