import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import {
  CgroupDriver,
  ContainerEventType,
  ContainerState,
  createCriClient,
  LinuxContainerResources,
  NamespaceMode,
  Signal,
} from '@nodelet/cri-api'
import type { ContainerConfig, ContainerEventResponse, DeepPartial } from '@nodelet/cri-api'
import { openCgroups } from '@nodelet/linux'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { createStreamAdapters, openStreaming, serveRuntime } from '../src/index.ts'
import { until } from './fixture.ts'
import { leftovers, makeRuntime } from './runtime-fixture.ts'

let f: Awaited<ReturnType<typeof makeRuntime>>
let pod: string
beforeAll(async () => {
  f = await makeRuntime()
  const config = f.pod({ labels: { app: 'calls' } })
  pod = (await f.runtime.runtimeService.runPodSandbox({ config, runtimeHandler: 'runc' })).podSandboxId
})
afterAll(async () => f[Symbol.asyncDispose]())

let count = 0

async function create(script: string, config: DeepPartial<ContainerConfig> = {}): Promise<string> {
  const request = { podSandboxId: pod, config: f.container(`c${count++}`, script, config), sandboxConfig: undefined }
  return (await f.runtime.runtimeService.createContainer(request)).containerId
}

async function start(script: string, config: DeepPartial<ContainerConfig> = {}): Promise<string> {
  const containerId = await create(script, config)
  await f.runtime.runtimeService.startContainer({ containerId })
  return containerId
}

const status = async (containerId: string) =>
  (await f.runtime.runtimeService.containerStatus({ containerId, verbose: false })).status

test('a container shows what it was made from, what it may use and how it ended', async () => {
  const id = await start('echo done; exit 3', {
    envs: [{ key: 'SECRET', value: Buffer.from('x1y2') }],
    mounts: [{ hostPath: f.folder, containerPath: '/mnt', readonly: true }],
    stopSignal: Signal.SIGUSR1,
    linux: {
      resources: { cpuShares: 512n, memoryLimitInBytes: 64n << 20n },
      securityContext: { runAsUser: { value: 1000n }, namespaceOptions: { pid: NamespaceMode.CONTAINER } },
    },
  })
  await expect.poll(async () => (await status(id))?.state).toBe(ContainerState.CONTAINER_EXITED)
  const image = f.images.resolve(f.image)
  expect(await status(id)).toMatchObject({
    exitCode: 3,
    reason: 'Error',
    image: { image: f.image },
    imageId: image?.id,
    imageRef: image?.repoDigests[0],
    mounts: [{ hostPath: f.folder, containerPath: '/mnt', readonly: true }],
    resources: { linux: { cpuShares: 512n, memoryLimitInBytes: 64n << 20n } },
    user: { linux: { uid: 1000n, gid: 1001n } },
    stopSignal: Signal.SIGUSR1,
  })
  expect((await status(id))?.logPath).toMatch(/\/logs\/c\d+\.log$/)
  expect(readFileSync((await status(id))?.logPath ?? '', 'utf8')).toContain('stdout F done')
  const { info } = await f.runtime.runtimeService.containerStatus({ containerId: id.slice(0, 20), verbose: true })
  expect(JSON.parse(info['info'] ?? '{}')).toMatchObject({
    sandboxID: pod,
    pid: 0,
    snapshotKey: id,
    config: { envs: [{ key: 'SECRET', value: 'x1y2' }] },
  })
  await f.runtime.runtimeService.removeContainer({ containerId: id })
  expect(leftovers(f).filter((path) => path.includes(id))).toEqual([])
})

test('a real-time signal stops: it is sent by number, and shown as it was asked for', async () => {
  const id = await start('trap "exit 7" 37; echo ready; while :; do sleep 0.02; done', {
    stopSignal: Signal.SIGRTMINPLUS3,
  })
  const log = (await status(id))?.logPath ?? ''
  await expect.poll(() => readFileSync(log, 'utf8')).toContain('ready')
  await f.runtime.runtimeService.stopContainer({ containerId: id, timeout: 30n })
  expect(await status(id)).toMatchObject({ exitCode: 7, stopSignal: Signal.SIGRTMINPLUS3 })
  await f.runtime.runtimeService.removeContainer({ containerId: id })
})

test('a command may take longer than a timer lasts', async () => {
  const id = await start('sleep 600')
  const cmd = ['sh', '-c', 'sleep 0.1; echo late']
  const { stdout } = await f.runtime.runtimeService.execSync({ containerId: id, cmd, timeout: 2n ** 31n - 1n })
  expect(Buffer.from(stdout).toString()).toBe('late\n')
  await f.runtime.runtimeService.removeContainer({ containerId: id })
})

test('a program that is not there makes no container', async () => {
  await expect(create('', { command: ['/bin/none'] })).rejects.toThrow(/stat \/bin\/none: no such file/)
  expect(leftovers(f).filter((path) => !path.includes(pod))).toEqual([])
})

test('a container that cannot be started ends as StartError', async () => {
  const id = await create('true')
  const pid = Number(readFileSync(join(f.runDir, 'bundles', id, 'pidfile'), 'utf8'))
  process.kill(pid, 'SIGSTOP') // it cannot take the word to start
  rmSync(join(f.runDir, 'runc', id, 'exec.fifo'))
  await expect(f.runtime.runtimeService.startContainer({ containerId: id })).rejects.toThrow(/runc start/)
  const ended = await status(id)
  expect(ended).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 128, reason: 'StartError' })
  expect(ended?.startedAt).toBe(0n)
  expect(ended?.finishedAt).toBeGreaterThan(0n)
})

test('an update of limits reaches the kernel and the status; one that fails changes nothing', async () => {
  const id = await start('sleep 600', { linux: { resources: { memoryLimitInBytes: 64n << 20n } } })
  const { runtimeService } = f.runtime
  const update = async (change: DeepPartial<LinuxContainerResources>) =>
    runtimeService.updateContainerResources({
      containerId: id,
      linux: LinuxContainerResources.fromPartial(change),
      windows: undefined,
      annotations: {},
    })
  await update({ memoryLimitInBytes: 128n << 20n, cpuShares: 256n })
  const cgroups = await openCgroups()
  expect((await cgroups.stats(join(f.cgroup, pod, id))).memory?.limit).toBe(128 << 20)
  expect((await status(id))?.resources?.linux).toMatchObject({ memoryLimitInBytes: 128n << 20n, cpuShares: 256n })
  await expect(update({ cpusetCpus: '4096' })).rejects.toThrow(/cpuset/)
  expect((await status(id))?.resources?.linux?.cpusetCpus).toBe('')

  const { stats } = await runtimeService.containerStats({ containerId: id })
  expect(stats?.attributes).toMatchObject({ id, metadata: { name: expect.any(String) } })
  expect(stats?.cpu?.usageCoreNanoSeconds?.value).toBeGreaterThan(0n)
  expect(stats?.memory?.workingSetBytes?.value).toBeGreaterThan(0n)
  expect(stats?.memory?.availableBytes?.value).toBeLessThan(128n << 20n)
  const ofPod = (await runtimeService.podSandboxStats({ podSandboxId: pod })).stats?.linux
  expect(ofPod?.network?.defaultInterface?.name).toBe('eth0')
  expect(ofPod?.process?.processCount?.value).toBeGreaterThan(0n)
  expect(ofPod?.containers.map(({ attributes }) => attributes?.id)).toContain(id)
})

test('what a container wrote is told, of one that ended too, and of the whole store', async () => {
  const { runtimeService, imageService } = f.runtime
  const before = (await imageService.imageFsInfo({})).imageFilesystems[0]
  const id = await start('head -c 1000000 /dev/zero > /big; ln /big /again; mkdir /folder; exec sleep 600')
  const listed = async () => (await runtimeService.listContainerStats({ filter: undefined })).stats
  const isDone = { containerId: id, cmd: ['/bin/sh', '-c', 'test -d /folder'], timeout: 0n }
  await expect.poll(async () => (await runtimeService.execSync(isDone)).exitCode).toBe(0)
  const one = (await listed()).find(({ attributes }) => attributes?.id === id)
  expect(one?.writableLayer?.fsId?.mountpoint).toBe(f.images.root)
  expect(one?.writableLayer?.usedBytes?.value).toBeGreaterThanOrEqual(1_000_000n)
  expect(one?.writableLayer?.usedBytes?.value).toBeLessThan(1_200_000n)
  expect(one?.writableLayer?.inodesUsed?.value).toBeGreaterThanOrEqual(3n)
  await runtimeService.stopContainer({ containerId: id, timeout: 0n })
  const ended = (await runtimeService.containerStats({ containerId: id })).stats
  expect(ended?.cpu).toBeUndefined()
  expect(ended?.writableLayer?.usedBytes?.value).toBeGreaterThanOrEqual(1_000_000n)
  const after = (await imageService.imageFsInfo({})).imageFilesystems[0]
  expect(after?.usedBytes?.value).toBeGreaterThanOrEqual((before?.usedBytes?.value ?? 0n) + 1_000_000n)
})

test('metrics: every one that is described is given where the kernel tells it, with the labels it is described with', async () => {
  await start('exec sleep 600')
  const { runtimeService } = f.runtime
  const { descriptors } = await runtimeService.listMetricDescriptors({})
  const [metrics] = (await runtimeService.listPodSandboxMetrics({})).podMetrics
  const known = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys.length]))
  const told = [...(metrics?.metrics ?? []), ...(metrics?.containerMetrics ?? []).flatMap((one) => one.metrics)]
  for (const { name, labelValues } of told) expect(labelValues, name).toHaveLength(known.get(name) ?? -1)
  const names = new Set(told.map(({ name }) => name))
  const missing = [...known.keys()].filter((name) => !names.has(name) && !/pressure|hugetlb/.test(name))
  expect(missing).toEqual([])
  const valueOf = (name: string) => told.findLast((metric) => metric.name === name)?.value?.value
  expect(valueOf('container_processes')).toBe(1n)
  expect(valueOf('container_fs_limit_bytes')).toBeGreaterThan(1n << 20n)
  expect(valueOf('container_start_time_seconds')).toBeGreaterThan(BigInt(Math.floor(Date.now() / 1000) - 60))
})

test('runs commands, and reopens a log that was moved', async () => {
  const id = await start('while sleep 0.05; do echo tick; done')
  const { runtimeService } = f.runtime
  const exec = async (script: string, timeout = 0n) =>
    runtimeService.execSync({ containerId: id, cmd: ['/bin/sh', '-c', script], timeout })
  const { exitCode, stdout, stderr } = await exec('echo out; echo err >&2; exit 7')
  expect([exitCode, String(Buffer.from(stdout)), String(Buffer.from(stderr))]).toEqual([7, 'out\n', 'err\n'])
  await expect(exec('sleep 20', 1n)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
  const log = (await status(id))?.logPath ?? ''
  renameSync(log, `${log}.1`)
  await runtimeService.reopenContainerLog({ containerId: id })
  expect(existsSync(log)).toBe(true)
  await runtimeService.stopContainer({ containerId: id, timeout: 0n })
  await expect(runtimeService.reopenContainerLog({ containerId: id })).rejects.toThrow(/is not running/)
  await expect(exec('true')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
})

test('a pod that is removed while lists of usage are made is left out, and the others are there', async () => {
  const { runtimeService } = f.runtime
  const calls = [
    async () =>
      (await runtimeService.listPodSandboxStats({ filter: undefined })).stats.map((one) => one.attributes?.id),
    async () => (await runtimeService.listPodSandboxMetrics({})).podMetrics.map((one) => one.podSandboxId),
  ]
  await start('sleep 600')
  for (const call of calls) {
    // It is listed after the other one, and gone when its turn comes.
    const { podSandboxId } = await runtimeService.runPodSandbox({ config: f.pod(), runtimeHandler: '' })
    const { rootfsUsage } = f.images
    const measured = vi.spyOn(f.images, 'rootfsUsage').mockImplementationOnce(async (ids) => {
      await runtimeService.removePodSandbox({ podSandboxId })
      return rootfsUsage(ids)
    })
    try {
      expect(await call()).toEqual([pod])
      expect(measured).toHaveBeenCalled()
    } finally {
      measured.mockRestore()
    }
  }
})

test('without a streaming server the calls that need one say so', async () => {
  const { runtimeService } = f.runtime
  const streams = { cmd: ['sh'], tty: false, stdin: false, stdout: true, stderr: true, containerId: 'x' }
  for (const call of [
    runtimeService.exec(streams),
    runtimeService.attach(streams),
    runtimeService.portForward({ podSandboxId: pod, port: [80] }),
  ]) {
    await expect(call).rejects.toMatchObject({ code: 'UNIMPLEMENTED', message: expect.stringMatching(/streaming/) })
  }
})

test('with one a client gets a URL to the program, and to a port of the pod', async () => {
  await using g = await makeRuntime({
    streaming: async (backend) => openStreaming(await createStreamAdapters(backend)),
  })
  const { runtimeService } = g.runtime
  const config = g.pod()
  const { podSandboxId } = await runtimeService.runPodSandbox({ config, runtimeHandler: '' })
  const request = { podSandboxId, config: g.container('main', 'sleep 600'), sandboxConfig: config }
  const { containerId } = await runtimeService.createContainer(request)
  const streams = { containerId, cmd: ['hostname'], tty: false, stdin: false, stdout: true, stderr: true }
  await expect(runtimeService.exec(streams)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION' })
  await runtimeService.startContainer({ containerId })
  const { url } = await runtimeService.exec(streams)
  const socket = new WebSocket(url.replace('http:', 'ws:'), 'v5.channel.k8s.io')
  const messages: Buffer[] = []
  socket.on('message', (data: Buffer) => messages.push(data))
  await once(socket, 'close')
  const said = (channel: number) =>
    String(Buffer.concat(messages.filter(([c]) => c === channel).map((m) => m.subarray(1))))
  expect(said(1)).toBe(`${hostname()}\n`)
  expect(JSON.parse(said(3))).toMatchObject({ status: 'Success' })
  expect((await runtimeService.portForward({ podSandboxId, port: [80] })).url).toMatch(/\/portforward\//)
  await runtimeService.stopPodSandbox({ podSandboxId })
  await expect(runtimeService.portForward({ podSandboxId, port: [80] })).rejects.toMatchObject({
    code: 'FAILED_PRECONDITION',
  })
  // What is wrong with the request itself is said first, whatever the state of what it names.
  for (const [call, message] of [
    [async () => runtimeService.exec({ ...streams, containerId: '' }), 'missing required container_id'],
    [async () => runtimeService.attach({ ...streams, containerId: '' }), 'missing required container_id'],
    [async () => runtimeService.exec({ ...streams, tty: true }), 'tty and stderr cannot both be true'],
    [async () => runtimeService.portForward({ podSandboxId: '', port: [80] }), 'missing required pod_sandbox_id'],
  ] as const) {
    await expect(call()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message })
  }
})

test.each([
  ['each container its own', NamespaceMode.CONTAINER],
  ['one', NamespaceMode.POD],
])(
  'over the socket, PIDs %s: events in order with the state after them; who asks again gets the same',
  async (_, pid) => {
    const socketPath = join(f.folder, 'cri.sock')
    await using _server = await serveRuntime(f.runtime, { socketPath })
    const client = createCriClient(`unix://${socketPath}`)
    const { runtimeService } = client
    const leaving = new AbortController()
    const seen: ContainerEventResponse[] = []
    const reading = (async () => {
      for await (const event of runtimeService.getContainerEvents({}, { signal: leaving.signal })) seen.push(event)
    })()
    reading.catch(() => undefined)
    // The stream is open when an event of another container comes through.
    while (seen.length === 0) {
      const warmUp = await create('true')
      await runtimeService.removeContainer({ containerId: warmUp })
    }
    const config = f.pod({ linux: { securityContext: { namespaceOptions: { pid } } } })
    const made = await Promise.all(
      [0, 1].map(async () => (await runtimeService.runPodSandbox({ config, runtimeHandler: '' })).podSandboxId),
    )
    const [podSandboxId = ''] = made
    expect(made).toEqual([podSandboxId, podSandboxId])
    const request = { podSandboxId, config: f.container('main', 'sleep 600'), sandboxConfig: config }
    const { containerId } = await runtimeService.createContainer(request)
    await runtimeService.startContainer({ containerId })
    await runtimeService.removePodSandbox({ podSandboxId })
    const mine = () =>
      seen.filter((event) => event.podSandboxStatus?.id === podSandboxId || event.containerId === podSandboxId)
    await until(() => mine().length >= 8, 'eight events')
    const names = Object.fromEntries(
      Object.entries(ContainerEventType).map(([name, value]) => [value, name.split('_')[1]]),
    )
    const told = mine().map((event) => [
      { [podSandboxId]: 'pod', [containerId]: 'main' }[event.containerId] ?? event.containerId,
      names[event.containerEventType],
      event.podSandboxStatus?.state,
      event.containersStatuses.map(({ state }) => state).join(),
    ])
    expect(told).toEqual([
      ['pod', 'CREATED', 0, ''],
      ['pod', 'STARTED', 0, ''],
      ['main', 'CREATED', 0, '0'],
      ['main', 'STARTED', 0, '1'],
      ['main', 'STOPPED', 1, '2'],
      ['pod', 'STOPPED', 1, '2'],
      ['main', 'DELETED', 1, ''],
      ['pod', 'DELETED', undefined, ''],
    ])
    leaving.abort()
    await expect(runtimeService.runPodSandbox({ config, runtimeHandler: 'kata' })).rejects.toThrow(
      /no runtime for "kata" is configured/,
    )
    expect((await runtimeService.runtimeConfig({})).linux?.cgroupDriver).toBe(CgroupDriver.CGROUPFS)
    client.close()
  },
)

test('a killed runtime leaves containers running and half-made pods to be undone', async () => {
  await f.reopen(() => {})
  const alive = await start('sleep 600')
  await f.runtime[Symbol.asyncDispose]()
  const child = spawn(process.execPath, ['--conditions=@nodelet/source', join(import.meta.dirname, 'run-pods.ts')], {
    env: { ...process.env, FIXTURE: f.folder, CGROUP: f.cgroup },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  await new Promise((resolve) => setTimeout(resolve, 120))
  child.kill('SIGKILL')
  await once(child, 'exit')
  await f.reopen()
  expect((await status(alive))?.state).toBe(ContainerState.CONTAINER_RUNNING)
  const { items } = await f.runtime.runtimeService.listPodSandbox({ filter: undefined })
  for (const { id } of items) if (id !== pod) await f.runtime.runtimeService.removePodSandbox({ podSandboxId: id })
  expect(
    leftovers(f)
      .filter((path) => !path.includes(pod))
      .filter((path) => path.includes('/ns/') || path.includes('/pods/')),
  ).toEqual([])
  expect(await (await openCgroups()).children(f.cgroup)).toEqual([pod])
  expect(f.problems).toEqual([])
})
