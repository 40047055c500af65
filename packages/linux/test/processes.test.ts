import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { lockFile, lockFolder, mount, onProcessEnd, unmount } from '../src/index.ts'
import { descriptorsTo } from './descriptors.ts'

/** The number of a process whose parent is gone. */
async function orphan(seconds: string): Promise<number> {
  const child = spawn('sh', ['-c', `sleep ${seconds} >/dev/null & echo $!`], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [pid] = (await once(child.stdout, 'data')) as [Buffer]
  return Number(pid.toString())
}

const pidfds = (): number => descriptorsTo((target) => target.includes('pidfd'))

test('the end of a process that is no child is told at once, and leaves no descriptor', async () => {
  const pids = await Promise.all(Array.from({ length: 120 }, () => orphan('600')))
  const before = pidfds()
  const ends: number[] = []
  const watches = pids.map((pid) => onProcessEnd(pid, () => ends.push(pid)))
  expect(pidfds()).toBe(before + 120)
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(ends).toEqual([])
  const [first = 0, second = 0, ...others] = pids
  process.kill(first, 'SIGKILL')
  await expect.poll(() => ends, { interval: 2 }).toEqual([first])
  watches[1]?.[Symbol.dispose]()
  for (const pid of [second, ...others]) process.kill(pid, 'SIGTERM')
  await expect.poll(() => ends.length).toBe(pids.length - 1)
  expect(ends).not.toContain(second)
  for (const watch of watches) watch[Symbol.dispose]()
  await expect.poll(pidfds).toBe(before)
})

test('a process that has ended already is told of, too', async () => {
  const { pid } = spawnSync('true')
  const ended = Promise.withResolvers<string>()
  onProcessEnd(pid, () => ended.resolve('ended'))
  expect(await ended.promise).toBe('ended')
})

test('a locked file is free again when its holder is killed, and no earlier', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-lock-'))
  const path = join(folder, 'lock')
  try {
    const program = `
      import { lockFile } from '@nodelet/linux'
      import { spawn } from 'node:child_process'
      const held = lockFile(process.argv[1])
      const heir = spawn('sleep', ['600'], { stdio: 'ignore', detached: true })
      process.stdout.write(String(held === undefined ? 0 : heir.pid))
      setInterval(() => held, 1000)`
    const args = ['--conditions=@nodelet/source', '--input-type=module', '-e', program, path]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: import.meta.dirname })
    const [heir] = (await once(child.stdout, 'data')) as [Buffer]
    expect(Number(heir)).toBeGreaterThan(0)
    expect(lockFile(path)).toBe(undefined)
    child.kill('SIGKILL')
    await once(child, 'exit')
    {
      using held = lockFile(path)
      expect(held?.fd).toBeGreaterThan(2)
      expect(lockFile(path)).toBe(undefined)
    }
    using again = lockFile(path)
    expect(again?.fd).toBeGreaterThan(2)
    process.kill(Number(heir), 'SIGKILL')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a locked folder is had by one process, which the next is told of; what a killed one was starting is waited for', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-lock-'))
  try {
    {
      using _held = await lockFolder(folder)
      await expect(lockFolder(folder)).rejects.toThrow(`${folder} is in use by process ${process.pid}: stop it or use`)
    }
    // A program that has the descriptor until it ends stands for one that is not yet executed.
    const program = `
      import { lockFile } from '@nodelet/linux'
      import { spawn } from 'node:child_process'
      import { writeSync, ftruncateSync } from 'node:fs'
      const held = lockFile(process.argv[1])
      ftruncateSync(held.fd)
      writeSync(held.fd, String(process.pid))
      spawn('sleep', ['0.5'], { stdio: ['ignore', 'ignore', 'ignore', held.fd] }).on('spawn', () => process.stdout.write('up'))
      setInterval(() => held, 1000)`
    const args = ['--conditions=@nodelet/source', '--input-type=module', '-e', program, join(folder, 'lock')]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: import.meta.dirname })
    await once(child.stdout, 'data')
    await expect(lockFolder(folder)).rejects.toThrow(`is in use by process ${child.pid}`)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(lockFile(join(folder, 'lock'))).toBe(undefined)
    using _next = await lockFolder(folder)
    expect(readFileSync(join(folder, 'lock'), 'utf8')).toBe(String(process.pid))
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('where there is no room to say who has a folder, nobody has it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-lock-'))
  mount({ source: 'tmpfs', target: folder, type: 'tmpfs', options: ['size=4k'] })
  try {
    writeFileSync(join(folder, 'full'), Buffer.alloc(4096))
    await expect(lockFolder(folder)).rejects.toThrow('ENOSPC')
    rmSync(join(folder, 'full'))
    using _held = await lockFolder(folder)
  } finally {
    unmount(folder)
    rmdirSync(folder)
  }
})
