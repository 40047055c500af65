import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { NamespaceMode, SecurityProfile_ProfileType } from '@nodelet/cri-api'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { parseSyncLine } from '../src/conmon.ts'
import { copyFromRoot, readInRoot, resolveInRoot } from '../src/container/rootfs.ts'
import { createRunc } from '../src/index.ts'
import type { ContainerRecord } from '../src/index.ts'
import { isAlive } from '../src/pids.ts'
import { runcError } from '../src/runc.ts'
import { cgroupFolders, makeFixture, until } from './fixture.ts'
import type { Config } from './fixture.ts'

let f: Awaited<ReturnType<typeof makeFixture>>
beforeEach(async () => {
  f = await makeFixture()
})
afterEach(async () => {
  await f[Symbol.asyncDispose]()
})

async function running(script: string, config: Config = {}): Promise<string> {
  const id = await f.containers.create(f.options(script, config))
  await f.containers.start(id)
  return id
}

async function finished(script: string, config: Config = {}): Promise<Readonly<ContainerRecord>> {
  return f.containers.wait(await running(script, config))
}

const texts = (): string[] => f.logLines().map((line) => line.split(' ').slice(1).join(' '))

test('runs a program to its end: states, log lines, exit code, events, no rest', async () => {
  const id = await f.containers.create(f.options('echo out; echo err >&2; printf part; exit 3'))
  expect(f.containers.status(id)).toMatchObject({ phase: 'created' })
  expect(f.logLines()).toEqual([])
  const before = Date.now()
  await f.containers.start(id)
  const end = await f.containers.wait(id)
  expect(end).toMatchObject({ phase: 'exited', exitCode: 3, reason: 'Error', user: { uid: 0, gid: 0 } })
  expect(end.finishedAt).toBeGreaterThanOrEqual(before - 50)
  expect(f.logLines()[0]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) std/)
  expect(texts().toSorted()).toEqual(['stderr F err', 'stdout F out', 'stdout P part'])
  await f.containers.remove(id)
  expect(f.events.map(({ type }) => type)).toEqual(['created', 'started', 'stopped', 'deleted'])
  expect(f.containers.list()).toEqual([])
  const left = ['state/containers', 'run/bundles', 'run/exits', 'run/s', 'run/runc'].flatMap((path) =>
    readdirSync(join(f.folder, path)),
  )
  expect(left).toEqual([])
  expect(cgroupFolders(join(f.cgroupParent, id))).toEqual([])
  expect(isAlive(end.monitor ?? { pid: 0, startTime: 0 })).toBe(false)
  expect(f.logLines()).toHaveLength(3)
})

test('gives the process its user, environment, cgroup and limits', async () => {
  const end = await finished(
    'id -u; id -g; echo $A; echo $HOSTNAME; cat /proc/self/cgroup; cat /proc/self/oom_score_adj',
    {
      envs: [{ key: 'A', value: Buffer.from('b c') }],
      linux: {
        resources: { memoryLimitInBytes: 64n << 20n, oomScoreAdj: -997n },
        securityContext: { runAsUsername: 'web' },
      },
    },
  )
  const out = f.logLines().map((line) => line.split(' F ')[1] ?? '')
  expect(out.slice(0, 4)).toEqual(['1000', '1001', 'b c', 'pod'])
  expect(out.some((line) => line.endsWith(join(f.cgroupParent, end.id)))).toBe(true)
  expect(end.exitCode).toBe(0)
})

test('confines: default seccomp filter, capabilities, read-only mounts, masked paths', async () => {
  mkdirSync(join(f.folder, 'share'))
  const end = await finished(
    'cat /proc/self/status; echo x > /m/y || echo refused; cat /proc/kcore | busybox head -c 1; busybox unshare -m true || echo unshare refused',
    {
      mounts: [{ containerPath: '/m', hostPath: join(f.folder, 'share'), readonly: true }],
      linux: {
        securityContext: {
          capabilities: { dropCapabilities: ['ALL'], addCapabilities: ['KILL'] },
          seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
          maskedPaths: ['/proc/kcore'],
          noNewPrivs: true,
        },
      },
    },
  )
  const out = texts().map((text) => text.split('F ')[1] ?? '')
  expect(out).toEqual(expect.arrayContaining(['CapEff:\t0000000000000020', 'NoNewPrivs:\t1', 'Seccomp:\t2', 'refused']))
  expect(out).toContain('unshare refused')
  expect(readdirSync(join(f.folder, 'share'))).toEqual([])
  expect(end.exitCode).toBe(0)
})

test('joins the pinned namespaces of a sandbox', async () => {
  const paths = { net: join(f.folder, 'net'), uts: join(f.folder, 'uts'), ipc: join(f.folder, 'ipc') }
  pinNamespaces({ paths })
  try {
    const options = f.options('for n in net uts ipc; do busybox readlink /proc/self/ns/$n; done', {
      linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER, network: 0, ipc: 0 } } },
    })
    const sandbox = { ...options.sandbox, networkPath: paths.net, utsPath: paths.uts, ipcPath: paths.ipc }
    const id = await f.containers.create({ ...options, sandbox })
    await f.containers.start(id)
    await f.containers.wait(id)
    const inodes = [paths.net, paths.uts, paths.ipc].map((path) => statSync(path).ino)
    expect(texts()).toEqual(['net', 'uts', 'ipc'].map((kind, index) => `stdout F ${kind}:[${inodes[index]}]`))
  } finally {
    for (const path of Object.values(paths)) unpinNamespace(path)
  }
})

test('gives a terminal when asked', async () => {
  const end = await finished('busybox tty; echo $TERM', { tty: true })
  expect(end.exitCode).toBe(0)
  expect(texts()).toEqual(['stdout F /dev/pts/0\r', 'stdout F xterm\r'])
})

test('stops with the stop signal', async () => {
  const id = await running('trap "echo bye; exit 7" TERM; echo ready; while :; do sleep 0.05; done')
  await until(() => f.logLines().length > 0, 'the program is ready')
  await f.containers.stop(id, 5000)
  expect(f.containers.status(id)).toMatchObject({ phase: 'exited', exitCode: 7 })
  expect(texts()).toEqual(['stdout F ready', 'stdout F bye'])
})

test('kills what ignores the stop signal; a shorter timeout wins; the signal is sent once', async () => {
  const id = await running('trap "echo term" TERM; echo ready; while :; do sleep 0.05; done')
  await until(() => f.logLines().length > 0, 'the program is ready')
  const began = Date.now()
  await Promise.all([f.containers.stop(id, 60_000), f.containers.stop(id, 300)])
  expect(Date.now() - began).toBeLessThan(30_000)
  expect(f.containers.status(id)).toMatchObject({ exitCode: 137, reason: 'Error' })
  expect(texts()).toEqual(['stdout F ready', 'stdout F term'])
  await f.containers.stop(id, 0)
  await f.containers.stop('unknown', 0)
})

test('an aborted stop sends nothing more', async () => {
  const id = await running('trap "" TERM; echo ready; while :; do sleep 0.05; done')
  await until(() => f.logLines().length > 0, 'the program is ready')
  await expect(f.containers.stop(id, 60_000, AbortSignal.timeout(50))).rejects.toThrow('abort')
  expect(f.containers.status(id).phase).toBe('running')
})

test('SIGKILL takes all of a container in the host PID namespace', async () => {
  const { NODE } = NamespaceMode
  const id = await running('sleep 1000 & echo $!; sleep 1000', {
    linux: { securityContext: { namespaceOptions: { network: NODE, ipc: NODE, pid: NODE } } },
  })
  await until(() => f.logLines().length > 0, 'the child is there')
  const child = Number(f.logLines()[0]?.split(' F ')[1])
  await f.containers.stop(id, 0)
  expect(f.containers.status(id)).toMatchObject({ phase: 'exited', exitCode: 137 })
  await until(() => !existsSync(`/proc/${child}`), 'the child is gone')
})

test('a child that outlives the first process and holds its output is ended', async () => {
  const { NODE } = NamespaceMode
  const end = await finished('sleep 1000 & exit 4', {
    linux: { securityContext: { namespaceOptions: { network: NODE, ipc: NODE, pid: NODE } } },
  })
  expect(end.exitCode).toBe(4)
  expect(f.problems).toEqual([])
})

test('runs commands: output apart, exit code, environment', async () => {
  const id = await running('sleep 1000', { envs: [{ key: 'A', value: Buffer.from('1') }] })
  const result = await f.containers.execSync(id, ['/bin/sh', '-c', 'echo out $A; echo err >&2; exit 5'])
  expect([result.exitCode, result.stdout.toString(), result.stderr.toString()]).toEqual([5, 'out 1\n', 'err\n'])
  expect((await f.containers.execSync(id, ['sh', '-c', 'exit 255'])).exitCode).toBe(255)
  await expect(f.containers.execSync(id, ['nope'])).rejects.toThrow(/failed to exec .*nope.*not found/)
})

test('a command over time is killed', async () => {
  const id = await running('sleep 1000')
  await expect(f.containers.execSync(id, ['sh', '-c', 'sleep 777; true'], 300)).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
  })
  const { stdout } = await f.containers.execSync(id, ['sh', '-c', 'cat /proc/[0-9]*/cmdline'])
  expect(stdout.toString()).not.toContain('777')
})

test('a command that is aborted while it starts does not run on', async () => {
  const id = await running('sleep 1000')
  await expect(f.containers.execSync(id, ['sleep', '778'], 0, AbortSignal.timeout(5))).rejects.toThrow('abort')
  const { stdout } = await f.containers.execSync(id, ['sh', '-c', 'cat /proc/[0-9]*/cmdline'])
  expect(stdout.toString()).not.toContain('778')
})

test('a background child that holds the output is not waited for', async () => {
  const id = await running('sleep 1000')
  const began = Date.now()
  const { stdout } = await f.containers.execSync(id, ['sh', '-c', 'echo done; sleep 600 & exit 0'])
  expect(stdout.toString()).toBe('done\n')
  expect(Date.now() - began).toBeLessThan(30_000)
})

test('output over the limit is dropped, the command goes on', async () => {
  const id = await running('sleep 1000')
  const { stdout, exitCode } = await f.containers.execSync(id, ['busybox', 'dd', 'if=/dev/zero', 'bs=1M', 'count=18'])
  expect([stdout.length, exitCode]).toEqual([16 << 20, 0])
})

test('reopens the log after a rotation', async () => {
  const id = await running('i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done')
  await until(() => f.logLines().length > 2, 'lines')
  renameSync(join(f.folder, 'logs/0.log'), join(f.folder, 'logs/0.log.1'))
  await f.containers.reopenLog(id)
  await until(() => f.logLines().length > 2, 'lines in the new log')
  const numbers = [...f.logLines('0.log.1'), ...f.logLines()].map((line) => Number(line.split(' F ')[1]))
  expect(numbers).toEqual(numbers.map((_, index) => index))
})

test('a program that is not there fails the creation and leaves nothing', async () => {
  await expect(f.containers.create(f.options('', { command: ['/nope'] }))).rejects.toThrow(
    /creating container .*\/nope/,
  )
  expect(f.containers.list()).toEqual([])
  expect(readdirSync(join(f.folder, 'state/containers'))).toEqual([])
  expect(readdirSync(join(f.folder, 'run/bundles'))).toEqual([])
})

test('ids are unique, names are per pod and attempt', async () => {
  const ids = await Promise.all(Array.from({ length: 4 }, () => f.containers.create(f.options('true'))))
  expect(new Set(ids).size).toBe(4)
  const twin = { metadata: { name: 'twin', attempt: 1 } }
  await f.containers.create(f.options('true', twin))
  await expect(f.containers.create(f.options('true', twin))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  await f.containers.create(f.options('true', { metadata: { name: 'twin', attempt: 2 } }))
})

test('only a created container starts; only a running one runs commands', async () => {
  const { id } = await finished('true')
  await expect(f.containers.start(id)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  await expect(f.containers.execSync(id, ['true'])).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  await expect(f.containers.start('x')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('reports an OOM kill', async () => {
  const end = await finished('busybox dd if=/dev/zero of=/dev/null bs=256M count=1', {
    linux: { resources: { memoryLimitInBytes: 16n << 20n } },
  })
  expect(end.reason).toBe('OOMKilled')
})

test('an OOM kill that the monitor was not told of in time is one', async () => {
  const conmon = join(f.folder, 'conmon')
  const forgetful = `#!/bin/sh
cd /
for arg; do
  shift
  case $arg in
    --persist-dir) skip=1 ;;
    *) if [ -n "$skip" ]; then skip=; else set -- "$@" "$arg"; fi ;;
  esac
done
exec conmon "$@"
`
  writeFileSync(conmon, forgetful, { mode: 0o755 })
  await using other = await makeFixture({ conmon })
  const linux = { resources: { memoryLimitInBytes: 16n << 20n } }
  const id = await other.containers.create(
    other.options('exec busybox dd if=/dev/zero of=/dev/null bs=256M count=1', { linux }),
  )
  await other.containers.start(id)
  expect(await other.containers.wait(id)).toMatchObject({ exitCode: 137, reason: 'OOMKilled' })
})

test('a stop signal that could not be sent is sent by the next call', async () => {
  const id = await running('trap "exit 4" TERM; echo ready; while :; do sleep 0.1; done')
  await until(() => f.logLines().length > 0, 'the trap')
  const kill = vi.spyOn(process, 'kill').mockImplementationOnce(() => {
    throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' })
  })
  await expect(f.containers.stop(id, 5000)).rejects.toThrow('EPERM')
  kill.mockRestore()
  await f.containers.stop(id, 5000)
  expect(f.containers.status(id)).toMatchObject({ exitCode: 4 })
})

test('a restart adopts what runs and settles what ended', async () => {
  const lives = await running('sleep 1000')
  const waits = await f.containers.create(f.options('true'))
  const ends = await running('sleep 0.3; exit 9')
  await f.containers[Symbol.asyncDispose]()
  await until(() => existsSync(join(f.folder, 'run/exits', ends)), 'the exit file')
  await f.reopen()
  expect(f.containers.status(lives)).toMatchObject({ phase: 'running' })
  expect(f.containers.status(ends)).toMatchObject({ phase: 'exited', exitCode: 9 })
  await f.containers.start(waits)
  expect(await f.containers.wait(waits)).toMatchObject({ exitCode: 0 })
  await f.containers.stop(lives, 0)
  expect(f.containers.status(lives)).toMatchObject({ exitCode: 137 })
})

test('a restart sets damaged records aside and sweeps what has none', async () => {
  const lost = await running('sleep 1000')
  await f.containers[Symbol.asyncDispose]()
  const init = f.containers.status(lost).init ?? { pid: 0, startTime: 0 }
  writeFileSync(join(f.folder, 'state/containers', lost, 'container.json'), '{')
  await f.reopen()
  expect(f.containers.list()).toEqual([])
  expect(f.problems.map(({ message }) => message)).toEqual([
    expect.stringContaining(`container ${lost} has no readable record`),
  ])
  expect(isAlive(init)).toBe(false)
  expect(readdirSync(join(f.folder, 'run/bundles'))).toEqual([])
})

test('a killed monitor ends its container with 255', async () => {
  const id = await running('sleep 1000')
  const { monitor, init } = f.containers.status(id)
  process.kill(monitor?.pid ?? 0, 'SIGKILL')
  expect(await f.containers.wait(id)).toMatchObject({
    exitCode: 255,
    reason: 'Unknown',
    message: expect.stringContaining('monitor'),
  })
  expect(isAlive(init ?? { pid: 0, startTime: 0 })).toBe(false)
})

test('a second runtime on the same folder is refused', async () => {
  await expect(f.reopen.call(f).then(() => makeSecond())).rejects.toThrow(`in use by process ${process.pid}`)
})

async function makeSecond(): Promise<void> {
  const { openContainers } = await import('../src/index.ts')
  await openContainers({ stateDir: join(f.folder, 'state'), runDir: join(f.folder, 'run') })
}

test('image volumes are filled from the image, in the root only', async () => {
  mkdirSync(join(f.rootfs, 'data'))
  writeFileSync(join(f.rootfs, 'data/x'), 'from the image\n')
  const id = await f.containers.create({
    ...f.options('cat /data/x; echo new > /data/y'),
    image: { Volumes: { '/data': {} } },
  })
  await f.containers.start(id)
  await f.containers.wait(id)
  expect(texts()[0]).toBe('stdout F from the image')
  expect(existsSync(join(f.rootfs, 'data/y'))).toBe(false)
})

test('links of the image do not lead out of it', async () => {
  symlinkSync('/../../etc', join(f.rootfs, 'out'))
  symlinkSync('loop', join(f.rootfs, 'loop'))
  expect(resolveInRoot(f.rootfs, '/out/../out/passwd')).toBe(join(f.rootfs, 'etc/passwd'))
  expect(readInRoot(f.rootfs, 'out/passwd')).toBe(readFileSync(join(f.rootfs, 'etc/passwd'), 'utf8'))
  expect(readInRoot(f.rootfs, 'etc/group')).toBe('')
  expect(() => resolveInRoot(f.rootfs, 'loop/x')).toThrow('more than 40 links')
  await copyFromRoot(f.rootfs, 'out', join(f.folder, 'copy'))
  expect(readdirSync(join(f.folder, 'copy'))).toEqual(['passwd'])
  rmSync(join(f.rootfs, 'loop'))
})

test('runc: unknown containers have no state and are deleted already', async () => {
  const runc = createRunc({ root: join(f.folder, 'runc2') })
  expect(await runc.state('none')).toBeUndefined()
  await runc.delete('none', { force: true })
  await runc.delete('none')
  await expect(runc.kill('none', 'TERM')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(createRunc({ binary: '/nope/runc', root: f.folder }).list()).rejects.toThrow(
    '/nope/runc is not installed',
  )
})

test.each([
  [
    'time="t" level=warning msg="w"\ntime="t" level=error msg="container does not exist"',
    'NOT_FOUND',
    'container does not exist',
  ],
  ['time="t" level=error msg="exec: \\"nope\\": not found"', 'FAILED', 'exec: "nope": not found'],
  ['plain text\n', 'FAILED', 'plain text'],
  ['time="t" level=error msg="container not running"', 'NOT_RUNNING', 'container not running'],
])('runc error %#', (stderr, code, reason) => {
  expect(runcError(['kill', 'x'], stderr)).toMatchObject({ code, message: `runc kill x: ${reason}` })
})

test.each([
  ['{"pid": 12}', { pid: 12 }],
  ['{"pid": -1, "message": "why"}', { pid: -1, message: 'why' }],
  ['', { pid: -1 }],
])('sync line %s', (line, expected) => {
  expect(parseSyncLine(line)).toEqual(expected)
})
