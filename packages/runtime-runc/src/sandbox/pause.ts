// The process that holds a PID namespace which a pod shares: it reaps orphans and waits.
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { relabel, setLabel } from '../selinux/relabel.ts'

const LOAD_ADDRESS = 0x40_0000
const HEADERS = 64 + 56

const beingMade = new Map<string, Promise<string>>()

/**
 * Makes a root file system with nothing but `/pause`, and returns its path. Pods that start together share the work.
 *
 * @param label of all its files for SELinux
 */
export async function makePauseRootfs(stateDir: string, label?: string): Promise<string> {
  const now = beingMade.get(stateDir) ?? make(stateDir, label).finally(() => beingMade.delete(stateDir))
  beingMade.set(stateDir, now)
  return now
}

async function make(stateDir: string, label: string | undefined): Promise<string> {
  const rootfs = join(stateDir, 'pause')
  const file = join(rootfs, 'pause')
  await mkdir(rootfs, { recursive: true, mode: 0o755 })
  await writeFile(`${file}.tmp`, pauseProgram(process.arch), { mode: 0o755 })
  if (label !== undefined) setLabel(`${file}.tmp`, label) // before another pod may run it
  await rename(`${file}.tmp`, file)
  // Made beforehand: the root of a user namespace may not.
  for (const name of ['proc', 'dev', 'sys', 'etc']) await mkdir(join(rootfs, name), { recursive: true, mode: 0o755 })
  for (const name of ['hostname', 'hosts', 'resolv.conf']) await writeFile(join(rootfs, 'etc', name), '', { flag: 'a' })
  if (label !== undefined) await relabel(rootfs, label)
  return rootfs
}

/**
 * A whole static program of less than 200 bytes: it ignores SIGCHLD, so that the kernel reaps for it, and waits
 * for ever. As the first of its namespace it ignores every signal of its pod.
 *
 * @param arch as of `process.arch`
 * @throws CriError UNIMPLEMENTED for a processor other than x64 and arm64.
 */
export function pauseProgram(arch: string): Buffer {
  const made = programs[arch]
  if (!made) {
    throw new CriError(
      'UNIMPLEMENTED',
      `shareProcessNamespace needs an x64 or arm64 node, this one is ${arch}: leave it out`,
    )
  }
  const code = Buffer.from([...made.code, ignoreAction].join('').replaceAll(' ', ''), 'hex')
  return Buffer.concat([elfHeaders(made, HEADERS + code.length), code])
}

/** The kernel's sigaction at the end of the code: SIG_IGN; no flags, restorer or mask. */
const ignoreAction = `01 00000000000000 ${'00'.repeat(24)}`

interface Program {
  /** ELF's number of the processor. */
  machine: number
  /** The largest page that a kernel of it may have. */
  pageSize: number
  code: readonly string[]
}

const programs: Readonly<Record<string, Program>> = {
  x64: {
    machine: 62,
    pageSize: 0x1000,
    code: [
      'b8 0d000000', // mov eax, rt_sigaction
      'bf 11000000', // mov edi, SIGCHLD
      '488d35 19000000', // lea rsi, [rip + 25]: the action
      '31d2', // xor edx, edx
      '41ba 08000000', // mov r10d, 8
      '0f05', // syscall
      'b8 22000000', // mov eax, pause
      '0f05', // syscall
      'ebf7', // jmp to mov eax, pause
      '90 90 90 90 90 90',
    ],
  },
  // It has no pause(2): ppoll(2) of nothing, without a time limit, is the same.
  arm64: {
    machine: 183,
    pageSize: 0x1_0000,
    code: [
      '200280d2', // mov x0, SIGCHLD
      'a1010010', // adr x1, . + 52: the action
      '020080d2', // mov x2, 0
      '030180d2', // mov x3, 8
      'c81080d2', // mov x8, rt_sigaction
      '010000d4', // svc 0
      '000080d2', // mov x0, 0
      '010080d2', // mov x1, 0
      '020080d2', // mov x2, 0
      '030080d2', // mov x3, 0
      '280980d2', // mov x8, ppoll
      '010000d4', // svc 0
      'faffff17', // b to mov x0, 0
      '1f2003d5', // nop
    ],
  },
}

function elfHeaders({ machine, pageSize }: Program, size: number): Buffer {
  const elf = Buffer.alloc(HEADERS)
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]) // 64 bits, little endian
  elf.writeUInt16LE(2, 16) // executable
  elf.writeUInt16LE(machine, 18)
  elf.writeUInt32LE(1, 20)
  elf.writeBigUInt64LE(BigInt(LOAD_ADDRESS + HEADERS), 24) // entry
  elf.writeBigUInt64LE(64n, 32) // program headers
  elf.writeUInt16LE(64, 52)
  elf.writeUInt16LE(56, 54)
  elf.writeUInt16LE(1, 56)
  elf.writeUInt32LE(1, 64) // load
  elf.writeUInt32LE(5, 68) // read and execute
  elf.writeBigUInt64LE(BigInt(LOAD_ADDRESS), 80)
  elf.writeBigUInt64LE(BigInt(LOAD_ADDRESS), 88)
  elf.writeBigUInt64LE(BigInt(size), 96)
  elf.writeBigUInt64LE(BigInt(size), 104)
  elf.writeBigUInt64LE(BigInt(pageSize), 112)
  return elf
}
