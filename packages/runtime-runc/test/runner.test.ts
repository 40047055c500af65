// Containers from a program, without a daemon.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCni, defaultNetwork } from '@nodelet/cni-plugins'
import { pinNamespaces, readMountInfo, unpinNamespace } from '@nodelet/linux'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openRunner } from '../src/index.ts'
import type { Progress, Runner, RunnerOptions } from '../src/index.ts'
import { cgroupFolders } from './fixture.ts'
import { startRegistry } from './registry.ts'
import type { TestRegistry } from './registry.ts'
import { busybox } from './runtime-fixture.ts'

let registry: TestRegistry
let image: string
let folder: string
let options: RunnerOptions
const cgroup = `/nodelet-test-${process.pid}-runner`
const problems: Error[] = []

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nrr-'))
  registry = await startRegistry()
  image = `${registry.host}/apps/busybox:1`
  await registry.push('apps/busybox:1', await busybox())
  options = { root: join(folder, 'root'), cgroupParentDefault: cgroup, onProblem: (error) => problems.push(error) }
})
afterAll(async () => {
  await registry[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
  for (const path of cgroupFolders(cgroup)) rmdirSync(path)
  expect(problems).toEqual([])
})

const sh = (script: string): string[] => ['/bin/sh', '-c', script]
const runFolders = (): string[] => readdirSync('/run').filter((name) => /^nodelet-[0-9a-f]{8}$/.test(name))

test('an image is pulled, a command run, its output and exit code told, and nothing left', async () => {
  const before = runFolders()
  {
    await using runner = await openRunner(options)
    const progress: Progress[] = []
    const onProgress = (step: Progress): void => void progress.push(step)
    expect(await runner.run(image, ['/bin/busybox', 'echo', 'hello'], { onProgress })).toEqual({
      exitCode: 0,
      reason: 'Completed',
      stdout: 'hello\n',
      stderr: '',
    })
    expect(progress.length).toBeGreaterThan(0)
    expect(await runner.run(image, sh('echo out; echo err >&2; exit 3'), { handler: 'runc' })).toEqual({
      exitCode: 3,
      reason: 'Error',
      stdout: 'out\n',
      stderr: 'err\n',
    })
    const big = await runner.run(image, sh('for i in $(/bin/busybox seq 100000); do echo line $i; done'))
    expect(big.stdout.split('\n')).toHaveLength(100_001)
    expect(big.stdout.endsWith('line 99999\nline 100000\n')).toBe(true)
    expect((await runner.runtime.runtimeService.listPodSandbox({ filter: undefined })).items).toEqual([])
    expect(readdirSync(join(folder, 'root/logs'))).toEqual([])
    await expect(runner.run(image, [], { handler: 'none' })).rejects.toThrow(/none/)
    await expect(runner.run(`${registry.host}/apps/none:1`)).rejects.toThrow(/failed to pull and unpack image .*none:1/)
  }
  expect(runFolders()).toEqual(before)
  expect((await readMountInfo()).filter(({ mountPoint }) => mountPoint.startsWith(folder))).toEqual([])
})

test('a command has the environment, folder, user, files and limits that it was given', async () => {
  await using runner = await openRunner(options)
  mkdirSync(join(folder, 'data'), { recursive: true })
  mkdirSync(join(folder, 'out'))
  chmodSync(join(folder, 'out'), 0o777)
  writeFileSync(join(folder, 'data/note'), 'from outside')
  const script = 'echo $FROM $ADDED; pwd; id; cat /in/note; echo; cat /sys/fs/cgroup/memory/memory.limit_in_bytes'
  const { stdout, stderr } = await runner.run(image, sh(`${script}; touch /in/x; echo kept > /out/made`), {
    env: { ADDED: 'a b' },
    cwd: '/data',
    user: '1000:1001',
    memory: 32 << 20,
    cpus: 0.5,
    mounts: [
      { source: join(folder, 'data'), target: '/in', readonly: true },
      { source: join(folder, 'out'), target: '/out' },
    ],
  })
  expect(stdout.split('\n').slice(0, 4)).toEqual([
    'image a b',
    '/data',
    expect.stringMatching(/^uid=1000(\(web\))? gid=1001/),
    'from outside',
  ])
  expect(stderr).toContain('/in/x: Read-only file system')
  if (existsSync('/sys/fs/cgroup/memory')) expect(stdout.split('\n')[4]).toBe(String(32 << 20))
  expect(readFileSync(join(folder, 'out/made'), 'utf8')).toBe('kept\n')
  const named = await runner.run(image, ['/bin/id', '-u'], { user: 'web' })
  expect(named.stdout).toBe('1000\n')
})

test('one that was started is looked into, stopped, and gone with its runner', async () => {
  let runner: Runner | undefined = await openRunner(options)
  try {
    const container = await runner.start(
      image,
      sh('trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.1; done'),
    )
    expect(container.ip).toBe('')
    expect(await container.exec(['/bin/cat', '/data/seed'])).toEqual({
      exitCode: 0,
      stdout: 'from the image',
      stderr: '',
    })
    await expect(openRunner(options)).rejects.toThrow(/is in use by process/)
    await container.stop()
    expect(await container.wait()).toEqual({ exitCode: 7, reason: 'Error' })
    expect((await container.output()).stdout).toBe('up\nbye\n')
    await container[Symbol.asyncDispose]()

    const ending = new AbortController()
    const left = runner.run(image, sh('sleep 600'), { signal: ending.signal })
    ending.abort(new Error('enough'))
    await expect(left).rejects.toThrow('enough')
    const waiting = await runner.start(image)
    await expect(waiting.wait(AbortSignal.timeout(50))).rejects.toThrow(/timeout/)
    await runner[Symbol.asyncDispose]()
    runner = await openRunner(options)
    expect((await runner.runtime.runtimeService.listPodSandbox({ filter: undefined })).items).toEqual([])
  } finally {
    await runner[Symbol.asyncDispose]()
  }
})

test('a network of its own comes from CNI, and is refused without', async () => {
  const host = join(folder, 'host-net')
  pinNamespaces({ paths: { net: host } })
  try {
    mkdirSync(join(folder, 'net.d'), { recursive: true })
    const list = defaultNetwork({ name: 'pods', bridge: 'cni0', subnets: ['10.88.0.0/16'] })
    writeFileSync(join(folder, 'net.d/10-pods.conflist'), JSON.stringify(list))
    using cni = createCni({
      confDir: join(folder, 'net.d'),
      binDirs: [],
      cacheDir: join(folder, 'cni'),
      hostNetns: host,
    })
    await using runner = await openRunner({ ...options, cni })
    await using web = await runner.start(image, sh('nc -l -p 80 -e echo hello'), { network: 'pod' })
    expect(web.ip).toMatch(/^10\.88\./)
    const { stdout } = await runner.run(image, sh(`nc ${web.ip} 80 </dev/null`), { network: 'pod' })
    expect(stdout).toBe('hello\n')
  } finally {
    unpinNamespace(host)
  }
  await using runner = await openRunner(options)
  await expect(runner.run(image, [], { network: 'pod' })).rejects.toThrow(/no network for pods: open it with `cni`/)
})

test('what a killed process left running is removed by the next', async () => {
  const script = `
import { openRunner } from ${JSON.stringify(join(import.meta.dirname, '../src/index.ts'))}
const runner = await openRunner(${JSON.stringify({ root: options.root, cgroupParentDefault: cgroup })})
const { id } = await runner.start(${JSON.stringify(image)}, ['/bin/sleep', '600'])
console.log(id)
setInterval(() => {}, 1000)
`
  const file = join(import.meta.dirname, `runner-killed-${process.pid}.ts`)
  writeFileSync(file, script)
  const child = spawn(process.execPath, ['--conditions=@nodelet/source', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await once(child.stdout, 'data')
  } finally {
    child.kill('SIGKILL')
    rmSync(file)
  }
  await once(child, 'close')
  await using runner = await openRunner(options)
  expect((await runner.runtime.runtimeService.listPodSandbox({ filter: undefined })).items).toEqual([])
  expect(readdirSync(join(folder, 'root/runtime/containers'))).toEqual([])
})

test.each([[['--max-semi-space-size=4']], [['--max-semi-space-size=4', '--input-type=module-typescript']]])(
  'a process that was started with %j runs containers too',
  async (flags) => {
    const root = join(folder, `flags${flags.length}`)
    const script = `
import { openRunner } from '@nodelet/runtime-runc'
await using runner = await openRunner(${JSON.stringify({ root, cgroupParentDefault: cgroup })})
process.stdout.write((await runner.run(${JSON.stringify(image)}, ['/bin/cat', '/data/seed'])).stdout)
`
    const all = ['--conditions=@nodelet/source', ...flags]
    const file = join(import.meta.dirname, `runner-flags-${process.pid}.ts`)
    writeFileSync(file, script)
    try {
      const evaluated = flags.length > 1
      const args = evaluated ? [...all, '-e', script] : [...all, file]
      const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: import.meta.dirname, encoding: 'utf8' })
      expect(stdout, stderr).toBe('from the image')
    } finally {
      rmSync(file)
    }
  },
)
