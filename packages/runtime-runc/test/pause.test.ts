// The program that holds a pod's PID namespace: by its bytes, and run by real and emulated processors.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { pauseProgram } from '../src/sandbox/pause.ts'

// Field of the ELF header → where it is, and what each processor needs there.
const fields = [
  { name: 'type: executable', offset: 16, x64: 2, arm64: 2 },
  { name: 'machine', offset: 18, x64: 0x3e, arm64: 0xb7 },
  { name: 'size of the ELF header', offset: 52, x64: 64, arm64: 64 },
  { name: 'size of a program header', offset: 54, x64: 56, arm64: 56 },
  { name: 'program headers', offset: 56, x64: 1, arm64: 1 },
] as const
const codes = {
  x64: 'b80d000000bf11000000488d351900000031d241ba080000000f05b8220000000f05ebf7909090909090',
  arm64:
    '200280d2a1010010020080d2030180d2c81080d2010000d4' +
    '000080d2010080d2020080d2030080d2280980d2010000d4faffff171f2003d5',
}
const headers = 120
const ignore = `01${'00'.repeat(31)}`

test.for(['x64', 'arm64'] as const)('pause for %s, byte for byte', (arch) => {
  const program = pauseProgram(arch)
  expect(program.subarray(0, 7).toString('hex')).toBe('7f454c46020101')
  expect(fields.map(({ name, offset }) => [name, program.readUInt16LE(offset)])).toEqual(
    fields.map((field) => [field.name, field[arch]]),
  )
  expect(program.subarray(headers).toString('hex')).toBe(codes[arch] + ignore)
  expect(program.readBigUInt64LE(24)).toBe(program.readBigUInt64LE(80) + BigInt(headers))
  expect([program.readBigUInt64LE(96), program.readBigUInt64LE(104)]).toEqual(
    [program.length, program.length].map(BigInt),
  )
})

test('another processor is named in the refusal', () => {
  expect(() => pauseProgram('riscv64')).toThrow(/needs an x64 or arm64 node, this one is riscv64/)
})

test('on an emulated arm64 it ignores SIGCHLD and then waits for ever', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pause-'))
  const file = join(folder, 'pause')
  writeFileSync(file, pauseProgram('arm64'), { mode: 0o755 })
  const emulator = spawn('qemu-aarch64', ['-strace', file], { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = once(emulator, 'exit')
  try {
    let calls = ''
    for await (const chunk of emulator.stderr.setEncoding('utf8')) {
      calls += chunk as string
      if (calls.includes('ppoll(')) emulator.kill('SIGTERM')
    }
    expect(calls).toMatch(/^\d+ rt_sigaction\(SIGCHLD,0x\w+,NULL\) = 0\n\d+ ppoll\(0,0,0,0,0,0\)/)
    expect((await exited)[1]).toBe('SIGTERM')
  } finally {
    emulator.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  }
})
