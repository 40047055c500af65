// Programs started by posix_spawn.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { finished, pinNamespaces, startProgram, unpinNamespace } from '../src/index.ts'
import type { Program } from '../src/index.ts'

const output = async (program: Program): Promise<string> => (await finished(program)).stdout
const shell = (script: string, options: Parameters<typeof startProgram>[2] = {}): Program =>
  startProgram('sh', ['-c', script], { stdio: ['pipe', 'pipe', 'pipe'], ...options })

test('input, both outputs and the exit code', async () => {
  const program = shell('read line; echo "got $line"; echo oops >&2; exit 7')
  program.stdin?.end('hello\n')
  expect(await finished(program)).toEqual({ code: 7, signal: null, stdout: 'got hello\n', stderr: 'oops\n' })
  expect(program.kill('SIGTERM')).toBe(false)
})

test('much output is not lost, and a slow reader holds the program up', async () => {
  const program = shell('head -c 5000000 /dev/zero')
  let bytes = 0
  for await (const chunk of program.stdout ?? Readable.from([])) bytes += (chunk as Buffer).length
  expect(bytes).toBe(5_000_000)
  expect(await program.ended).toEqual({ code: 0, signal: null })
})

test('further descriptors, in both directions', async () => {
  const program = shell('read word <&4; echo "$word" >&3', {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    inputs: [4],
  })
  program.stdio[4]?.end('through\n')
  expect(await text(program.stdio[3] ?? Readable.from([]))).toBe('through\n')
})

test('folder, environment and session are as asked; nothing else is handed down', async () => {
  const script = 'pwd; echo "$GREETING $HOME"; cut -d " " -f 6 /proc/$$/stat; echo $$; ls /proc/$$/fd'
  const program = shell(script, { cwd: '/usr', env: { PATH: process.env['PATH'], GREETING: 'hi' }, detached: true })
  const [folder, greeting, session, pid, ...fds] = (await output(program)).trim().split('\n')
  expect([folder, greeting]).toEqual(['/usr', 'hi '])
  expect(session).toBe(pid)
  expect(fds.filter((fd) => Number(fd) < 10)).toEqual(['0', '1', '2'])
})

test('signals that Node ignores are not ignored in the program', async () => {
  const program = shell('grep SigIgn /proc/self/status')
  expect((await output(program)).trim()).toMatch(/0000000000000000$/)
})

test('it is killed by a signal, and by an abort', async () => {
  const first = shell('exec sleep 100')
  expect(first.kill('SIGTERM')).toBe(true)
  expect(await first.ended).toEqual({ code: null, signal: 'SIGTERM' })
  const leaving = new AbortController()
  const second = shell('exec sleep 100', { signal: leaving.signal })
  leaving.abort()
  expect(await second.ended).toEqual({ code: null, signal: 'SIGKILL' })
  expect(() => shell('true', { signal: leaving.signal })).toThrow(/aborted/)
})

test('what is not there is told at once, and leaves no descriptor open', () => {
  const open = (): number => readdirSync('/proc/self/fd').length
  const before = open()
  expect(() => startProgram('no-such-program', [], { stdio: ['pipe', 'pipe'] })).toThrow(
    expect.objectContaining({ code: 'ENOENT', path: 'no-such-program' }),
  )
  expect(open()).toBe(before)
})

test('a program starts in a network namespace', async () => {
  const path = `/run/nodelet-spawn-${process.pid}`
  pinNamespaces({ paths: { net: path } })
  try {
    const program = startProgram('readlink', ['/proc/self/ns/net'], { stdio: ['ignore', 'pipe'], netns: path })
    expect((await output(program)).trim()).not.toBe(readlinkSync('/proc/self/ns/net'))
  } finally {
    unpinNamespace(path)
  }
})

test("many at once end each on its own, beside children of Node's", async () => {
  const own = Array.from({ length: 30 }, (_, code) => shell(`exit ${code}`))
  const node = Array.from({ length: 5 }, (_, code) => spawn('sh', ['-c', `exit ${code}`]))
  const nodes = Promise.all(node.map(async (child) => once(child, 'exit')))
  expect(await Promise.all(own.map(({ ended }) => ended))).toEqual(own.map((_, code) => ({ code, signal: null })))
  expect((await nodes).map(([code]) => code as number)).toEqual([0, 1, 2, 3, 4])
})

test('one that ends at once is noticed, time after time', async () => {
  for (let at = 0; at < 100; at += 1) {
    expect(await startProgram('true', []).ended).toEqual({ code: 0, signal: null })
  }
})

test('a process may end before a program that it lets go, and only then', async () => {
  const script = (seconds: number, then: string): string =>
    `import { startProgram } from ${JSON.stringify(join(import.meta.dirname, '../src/index.ts'))}
    const program = startProgram('sleep', ['${seconds}'])
    ${then}
    process.stdout.write(String(program.pid))`
  const run = async (seconds: number, then: string): Promise<number> => {
    const args = ['--conditions=@nodelet/source', '--input-type=module', '-e', script(seconds, then)]
    const { stdout, code } = await finished(startProgram(process.execPath, args, { stdio: ['ignore', 'pipe'] }))
    expect(code).toBe(0)
    return Number(stdout)
  }
  process.kill(await run(60, 'program.unref()'))
  const waitedFor = await run(0.2, '')
  expect(() => process.kill(waitedFor, 0)).toThrow(/ESRCH/)
})

test('another thread is refused before anything is started', async () => {
  const folder = mkdtempSync(join(import.meta.dirname, 'worker-'))
  try {
    const file = join(folder, 'worker.ts')
    const script = `import { parentPort } from 'node:worker_threads'
      import { startProgram } from '../../src/index.ts'
      try { startProgram('true', []) } catch (error) { parentPort?.postMessage(String(error)) }`
    writeFileSync(file, script)
    const [told] = (await once(new Worker(file), 'message')) as [string]
    expect(told).toContain('starting true: only the main thread hears of its end')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
