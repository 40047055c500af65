import { existsSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  ContainerEventType,
  ContainerState,
  LinuxContainerResources,
  NamespaceMode,
  PodSandboxState,
} from '@nodelet/cri-api'
import type { ContainerConfig, DeepPartial, PodSandboxConfig } from '@nodelet/cri-api'
import { isNamespacePinned, openCgroups, readMountInfo } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { leftovers, makeRuntime } from './runtime-fixture.ts'
import { cgroupFolders } from './fixture.ts'

let f: Awaited<ReturnType<typeof makeRuntime>>
beforeEach(async () => {
  f = await makeRuntime()
})
afterEach(async () => f[Symbol.asyncDispose]())

const { NODE, POD, CONTAINER } = NamespaceMode

async function runPod(config: DeepPartial<PodSandboxConfig> = {}): Promise<string> {
  return (await f.runtime.runtimeService.runPodSandbox({ config: f.pod(config), runtimeHandler: '' })).podSandboxId
}

async function start(podSandboxId: string, script = 'sleep 600', config: DeepPartial<ContainerConfig> = {}) {
  const { runtimeService } = f.runtime
  const request = { podSandboxId, config: f.container('main', script, config), sandboxConfig: undefined }
  const { containerId } = await runtimeService.createContainer(request)
  await runtimeService.startContainer({ containerId })
  return containerId
}

async function run(containerId: string, script: string): Promise<string> {
  const cmd = ['/bin/sh', '-c', script]
  const { exitCode, stdout, stderr } = await f.runtime.runtimeService.execSync({ containerId, cmd, timeout: 10n })
  expect(Buffer.from(stderr).toString(), script).toBe('')
  expect(exitCode, script).toBe(0)
  return Buffer.from(stdout).toString().trim()
}

const podStatus = async (podSandboxId: string, verbose = false) =>
  f.runtime.runtimeService.podSandboxStatus({ podSandboxId, verbose })
const status = async (containerId: string) =>
  (await f.runtime.runtimeService.containerStatus({ containerId, verbose: false })).status

test('a pod has its own network, names, settings and shared memory', async () => {
  const pod = await runPod({
    hostname: 'web-0',
    dnsConfig: { servers: ['10.0.0.10'], searches: ['a.local', 'b.local'], options: ['ndots:5'] },
    linux: {
      sysctls: { 'net.ipv4.ip_local_port_range': '10000 20000', 'kernel.shm_rmid_forced': '1' },
      securityContext: { namespaceOptions: { pid: CONTAINER } },
    },
  })
  const { status: shown, info } = await podStatus(pod, true)
  const ip = shown?.network?.ip ?? ''
  expect(ip).toMatch(/^10\.88\.\d+\.\d+$/)
  expect(shown?.network?.additionalIps).toEqual([])
  expect(JSON.parse(info['info'] ?? '{}')).toMatchObject({
    pid: 0, // it shares no processes, so it has none of its own
    processStatus: 'running',
    netNamespaceClosed: false,
    runtimeSpec: {
      hostname: 'web-0',
      linux: {
        cgroupsPath: `${f.cgroup}/${pod}`,
        namespaces: ['network', 'ipc', 'uts'].map((type) => ({ type, path: expect.stringContaining(pod) })),
      },
    },
    sandboxMetadata: { ID: pod, IP: ip, AdditionalIPs: [] },
  })

  const id = await start(pod)
  expect(await run(id, 'hostname; cat /etc/hostname')).toBe('web-0\nweb-0')
  expect(await run(id, 'cat /etc/resolv.conf')).toBe('search a.local b.local\nnameserver 10.0.0.10\noptions ndots:5')
  expect(await run(id, 'cat /proc/sys/net/ipv4/ip_local_port_range')).toBe('10000\t20000')
  expect(await run(id, 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced')).toBe(
    '0\n1',
  )
  expect(await run(id, 'ip -4 addr show eth0')).toContain(`inet ${ip}/16`)
  expect(await run(id, 'ip link show lo')).toContain('UP')
  expect(await run(id, 'mount')).toMatch(/shm on \/dev\/shm type tmpfs .*size=65536k/)
  expect(await run(id, 'cat /data/seed; echo; echo $FROM')).toBe('from the image\nimage')

  const other = await start(await runPod())
  expect(await run(other, `ping -c 1 -W 2 ${ip}`)).toContain('1 packets received')
  expect(await run(other, 'cat /etc/resolv.conf')).toBe(readFileSync('/etc/resolv.conf', 'utf8').trim())
})

test('containers of a pod share its network, IPC and, when asked, its processes', async () => {
  const namespaceOptions = { pid: POD }
  const pod = await runPod({ linux: { securityContext: { namespaceOptions } } })
  const first = await start(pod, 'nc -l -p 81 -e echo hello & echo shared > /dev/shm/note; sleep 611', {
    linux: { securityContext: { namespaceOptions } },
  })
  const second = await start(pod, 'sleep 600', {
    metadata: { name: 'second' },
    linux: { securityContext: { namespaceOptions } },
  })
  const processes = await run(second, 'ps')
  expect(processes).toContain('sleep 611')
  expect(processes).toMatch(/^\s+1 .*pause/m)
  expect(await run(second, 'cat /dev/shm/note')).toBe('shared')
  expect(await run(second, 'nc 127.0.0.1 81 < /dev/null')).toBe('hello')
  // Orphans go to the pause process, and none stays as a zombie.
  await run(first, '(sleep 0.1 &) ; true')
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(await run(second, 'ps')).not.toMatch(/\[sleep\]| Z /)
  const { containers } = await f.runtime.runtimeService.listContainers({ filter: undefined })
  expect(containers.map(({ id }) => id).toSorted()).toEqual([first, second].toSorted())
  await f.reopen()
  expect((await podStatus(pod)).status?.state).toBe(PodSandboxState.SANDBOX_READY)
  expect(await run(second, 'cat /dev/shm/note')).toBe('shared')
  // Without its process the pod is not ready, but its network is there until it is stopped.
  const infoOf = async () =>
    JSON.parse((await podStatus(pod, true)).info['info'] ?? '{}') as { pid: number; netNamespaceClosed: boolean }
  process.kill((await infoOf()).pid, 'SIGKILL')
  await expect.poll(async () => (await podStatus(pod)).status?.state).toBe(PodSandboxState.SANDBOX_NOTREADY)
  expect(await infoOf()).toMatchObject({
    processStatus: 'deleted',
    netNamespaceClosed: false,
    snapshotKey: pod,
    snapshotter: 'overlay',
    runtimeSpec: { linux: { namespaces: expect.arrayContaining([expect.objectContaining({ type: 'network' })]) } },
    sandboxMetadata: { ID: pod, RuntimeHandler: '', NetNSPath: expect.stringContaining(pod) },
  })
  await f.runtime.runtimeService.stopPodSandbox({ podSandboxId: pod })
  expect(await infoOf()).toMatchObject({ netNamespaceClosed: true })
})

test("a pod in the node's namespaces has none of its own", async () => {
  const namespaceOptions = { network: NODE, ipc: NODE, pid: NODE }
  const pod = await runPod({ linux: { securityContext: { namespaceOptions } } })
  const id = await start(pod, 'sleep 600', { linux: { securityContext: { namespaceOptions } } })
  for (const kind of ['net', 'ipc', 'uts', 'pid']) {
    const own = inNamespaceOf(id, kind)
    expect(own, kind).toBe(inNamespaceOf('self', kind))
  }
  expect((await podStatus(pod)).status?.network).toEqual({ ip: '', additionalIps: [] })
  const { securityContext } = { securityContext: { namespaceOptions } }
  await expect(runPod({ linux: { sysctls: { 'net.core.somaxconn': '10' }, securityContext } })).rejects.toThrow(
    /the pod uses the node's network/,
  )
  await expect(runPod({ linux: { sysctls: { 'kernel.panic': '10' } } })).rejects.toThrow(/is of the whole node/)
})

function inNamespaceOf(id: string, kind: string): string {
  const pid = id === 'self' ? 'self' : readFileSync(join(f.runDir, 'bundles', id, 'pidfile'), 'utf8')
  return readlinkSync(`/proc/${pid}/ns/${kind}`)
}

test.each([
  ['all of the node', { network: NODE, ipc: NODE, pid: NODE }, true],
  ['the network and processes of the node', { network: NODE, pid: CONTAINER }, false],
])('containers that name no namespaces are in those of their pod: %s', async (_, namespaceOptions, nodePids) => {
  const pod = await runPod({ linux: { securityContext: { namespaceOptions } } })
  const main = await start(pod, 'sleep 600', { linux: { securityContext: { namespaceOptions: {} } } })
  expect(inNamespaceOf(main, 'net')).toBe(inNamespaceOf('self', 'net'))
  expect(inNamespaceOf(main, 'pid') === inNamespaceOf('self', 'pid')).toBe(nodePids)
})

test('the processes of another container are joined by the beginning of its ID', async () => {
  const pod = await runPod()
  const main = await start(pod)
  const namespaceOptions = { pid: NamespaceMode.TARGET, targetId: main.slice(0, 12) }
  const { runtimeService } = f.runtime
  const config = f.container('debug', 'sleep 600', { linux: { securityContext: { namespaceOptions } } })
  const { containerId } = await runtimeService.createContainer({ podSandboxId: pod, config, sandboxConfig: undefined })
  await runtimeService.startContainer({ containerId })
  expect(inNamespaceOf(containerId, 'pid')).toBe(inNamespaceOf(main, 'pid'))
})

test('what waits to be started ends with its pod', async () => {
  const { runtimeService } = f.runtime
  const pod = await runPod()
  const request = { podSandboxId: pod, config: f.container('main', 'sleep 600'), sandboxConfig: undefined }
  const { containerId } = await runtimeService.createContainer(request)
  const { info } = await runtimeService.containerStatus({ containerId, verbose: true })
  const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number }
  expect(readFileSync(`/proc/${pid}/comm`, 'utf8')).toMatch(/^runc/)
  await runtimeService.stopPodSandbox({ podSandboxId: pod })
  expect(existsSync(`/proc/${pid}`)).toBe(false)
  expect(await status(containerId)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 137 })
})

test('the end of the first process of a pod that shares its processes is told', async () => {
  const { runtimeService } = f.runtime
  const leaving = new AbortController()
  const events = runtimeService.getContainerEvents({}, { signal: leaving.signal })[Symbol.asyncIterator]()
  const first = events.next()
  const pod = await runPod({ linux: { securityContext: { namespaceOptions: { pid: POD } } } })
  await first
  const told = [(await first).value, (await events.next()).value].map((event) => event?.containerEventType)
  expect(told).toEqual([ContainerEventType.CONTAINER_CREATED_EVENT, ContainerEventType.CONTAINER_STARTED_EVENT])
  const info = JSON.parse((await podStatus(pod, true)).info['info'] ?? '{}') as { pid: number }
  process.kill(info.pid, 'SIGKILL')
  const { value } = await events.next()
  expect(value).toMatchObject({
    containerId: pod,
    containerEventType: ContainerEventType.CONTAINER_STOPPED_EVENT,
    podSandboxStatus: { state: PodSandboxState.SANDBOX_NOTREADY },
  })
  leaving.abort()
})

test('a pod that cannot be made leaves nothing; one that cannot be stopped waits to be stopped again', async () => {
  const conf = join(f.folder, 'net.d/10-pods.conflist')
  renameSync(conf, `${conf}.off`)
  const { status: shown, info } = await f.runtime.runtimeService.status({ verbose: true })
  expect(info['lastCNILoadStatus']).toMatch(/^no networks found/)
  expect(shown?.conditions.find(({ type }) => type === 'NetworkReady')).toEqual({
    type: 'NetworkReady',
    status: false,
    reason: 'NetworkPluginNotReady',
    message: expect.stringMatching(/^Network plugin returns error: .*no networks found/),
  })
  await expect(runPod()).rejects.toThrow(/no networks found/)
  expect(leftovers(f)).toEqual([])
  writeFileSync(conf, '{')
  const { info: faulty } = await f.runtime.runtimeService.status({ verbose: true })
  expect(JSON.parse(faulty['cniconfig'] ?? '{}')).toEqual({ error: expect.stringContaining(conf) })
  expect(faulty['lastCNILoadStatus']).toContain(conf)
  renameSync(`${conf}.off`, conf)
  const { info: mended } = await f.runtime.runtimeService.status({ verbose: true })
  expect(mended['lastCNILoadStatus']).toBe('OK')
  expect(JSON.parse(mended['cniconfig'] ?? '{}')).toMatchObject({
    Prefix: 'eth',
    Networks: [
      { IFName: 'lo', Config: { Name: 'cni-loopback' } },
      {
        IFName: 'eth0',
        Config: {
          Plugins: expect.arrayContaining([
            expect.objectContaining({ Network: expect.objectContaining({ type: 'bridge' }) }),
          ]),
        },
      },
    ],
  })
  for (const cgroupParent of ['/', '/..', '/a/../..']) {
    await expect(runPod({ linux: { cgroupParent } })).rejects.toThrow(/is not below the root/)
  }
  const pod = await runPod()
  const { del } = f.cni
  f.cni.del = async () => Promise.reject(new Error('the address server is away'))
  await expect(f.runtime.runtimeService.stopPodSandbox({ podSandboxId: pod })).rejects.toThrow(/address server is away/)
  expect((await podStatus(pod)).status?.state).toBe(PodSandboxState.SANDBOX_NOTREADY)
  f.cni.del = del
  await f.runtime.runtimeService.removePodSandbox({ podSandboxId: pod })
  expect(leftovers(f)).toEqual([])
  expect(readdirSync(join(f.folder, 'cni/results'))).toEqual([])
  expect(await (await openCgroups()).children(f.cgroup)).toEqual([])
})

test('after a restart pods and containers are the same', async () => {
  const pod = await runPod()
  const id = await start(pod)
  const before = [await podStatus(pod), await status(id)] as const
  await f.reopen()
  expect((await podStatus(pod)).status).toEqual(before[0].status)
  expect(await status(id)).toEqual(before[1])
  expect(await run(id, 'echo here')).toBe('here')
  await f.runtime.runtimeService.stopPodSandbox({ podSandboxId: pod })
  expect((await status(id))?.state).toBe(ContainerState.CONTAINER_EXITED)
  await f.reopen()
  expect((await podStatus(pod)).status?.state).toBe(PodSandboxState.SANDBOX_NOTREADY)
})

test('after a reboot pods are not ready and owe no network', async () => {
  const pod = await runPod()
  const id = await start(pod)
  await f.reopen(() => {
    for (const path of [`sandboxes/${pod}/sandbox.json`, `containers/${id}/container.json`]) {
      const file = join(f.folder, 'state', path)
      const record = JSON.parse(readFileSync(file, 'utf8')) as object
      writeFileSync(file, JSON.stringify({ ...record, bootId: 'of-before' }))
    }
  })
  expect((await podStatus(pod)).status?.state).toBe(PodSandboxState.SANDBOX_NOTREADY)
  expect(await status(id)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, reason: expect.any(String) })
  expect(isNamespacePinned(join(f.runDir, 'ns', `${pod}.net`))).toBe(false)
  const stored = JSON.parse(readFileSync(join(f.folder, 'state/sandboxes', pod, 'sandbox.json'), 'utf8')) as object
  expect(stored).toMatchObject({ phase: 'stopped', networkOwed: false })
  await expect(start(pod)).rejects.toThrow(/is not running/)
})

test.each(['creating', 'stopping', 'removing'])(
  'a crash while %s is undone or finished at the next start',
  async (phase) => {
    const pod = await runPod()
    await start(pod)
    const file = join(f.folder, 'state/sandboxes', pod, 'sandbox.json')
    await f.reopen(() => {
      const record = JSON.parse(readFileSync(file, 'utf8')) as object
      const change = phase === 'removing' ? { phase: 'stopped', removing: true } : { phase }
      writeFileSync(file, JSON.stringify({ ...record, ...change }))
    })
    expect(f.problems).toEqual([])
    if (phase === 'stopping') {
      expect((await podStatus(pod)).status?.state).toBe(PodSandboxState.SANDBOX_NOTREADY)
      expect(isNamespacePinned(join(f.runDir, 'ns', `${pod}.net`))).toBe(false)
    } else {
      expect(leftovers(f)).toEqual([])
      expect((await readMountInfo()).filter(({ mountPoint }) => mountPoint.includes(pod))).toEqual([])
    }
    expect(cgroupFolders(join(f.cgroup, pod)).length > 0).toBe(phase === 'stopping')
  },
)

test('what has no record any more is swept: pins, files, containers, networks', async () => {
  const pod = await runPod()
  await start(pod)
  await f.reopen(() => rmSync(join(f.folder, 'state/sandboxes', pod), { recursive: true }))
  expect(leftovers(f)).toEqual([])
  expect(readdirSync(join(f.folder, 'cni/results'))).toEqual([])
})

test('what a pod as a whole may use is remembered and changes no cgroup', async () => {
  const pod = await runPod()
  const overhead = LinuxContainerResources.fromPartial({ cpuShares: 10n })
  const resources = LinuxContainerResources.fromPartial({ memoryLimitInBytes: 64n << 20n })
  const { runtimeService } = f.runtime
  await runtimeService.updatePodSandboxResources({ podSandboxId: pod, overhead, resources: undefined })
  await runtimeService.updatePodSandboxResources({ podSandboxId: pod.slice(0, 20), overhead: undefined, resources })
  await f.reopen()
  const { info } = await podStatus(pod, true)
  const { config } = JSON.parse(info['info'] ?? '{}') as { config: { linux: object } }
  expect(config.linux).toMatchObject({
    overhead: { cpuShares: '10' },
    resources: { memoryLimitInBytes: `${64 << 20}` },
  })
  expect((await (await openCgroups()).stats(join(f.cgroup, pod))).memory?.limit).toBeUndefined()
  const unknown = f.runtime.runtimeService.updatePodSandboxResources({
    podSandboxId: 'f'.repeat(64),
    overhead,
    resources,
  })
  await expect(unknown).rejects.toMatchObject({ code: 'NOT_FOUND' })
})
