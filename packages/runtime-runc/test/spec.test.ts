import { ContainerConfig, MountPropagation, NamespaceMode, PodSandboxConfig, Signal } from '@nodelet/cri-api'
import { describe, expect, test } from 'vitest'
import { deviceNumbers } from '../src/container/devices.ts'
import { buildSpec } from '../src/index.ts'
import type { ImageConfig } from '../src/index.ts'
import { parseLog } from '../src/log.ts'
import { criSignal, parseSignal, signalName } from '../src/signals.ts'
import { clampOomScore, containerArgs, containerEnv } from '../src/spec/process.ts'
import { cgroupsPath, containerCgroup, expandSlice, monitorCgroup } from '../src/spec/cgroup-path.ts'
import { host, sandbox, spec } from './spec-input.ts'
import type { Config, Overrides } from './spec-input.ts'

test.each<[string, string[], string[], ImageConfig, string[]]>([
  ['command and args replace the image', ['c'], ['a'], { Entrypoint: ['E'], Cmd: ['C'] }, ['c', 'a']],
  ['a command drops the image arguments', ['c'], [], { Entrypoint: ['E'], Cmd: ['C'] }, ['c']],
  ['args keep the entrypoint', [], ['a'], { Entrypoint: ['E'], Cmd: ['C'] }, ['E', 'a']],
  ['nothing keeps the image', [], [], { Entrypoint: ['E'], Cmd: ['C'] }, ['E', 'C']],
  ['an empty entrypoint counts as none', [], [], { Entrypoint: [''], Cmd: ['C'] }, ['C']],
  ['null is none', [], [], { Entrypoint: null, Cmd: ['C'] }, ['C']],
])('args: %s', (_, command, args, image, expected) => {
  expect(containerArgs({ command, args }, image)).toEqual(expected)
})

test('args: nothing to run is an error', () => {
  expect(() => spec({}, {})).toThrow('no command specified')
})

test('env: defaults, image, then container; later wins in the first place', () => {
  const envs = [
    { key: 'B', value: Buffer.from('3=4') },
    { key: 'A', value: Buffer.from('') },
  ]
  const image = { Env: ['PATH=/x', 'A=1', 'HOSTNAME=image'] }
  expect(containerEnv({ envs, tty: true }, image, 'h')).toEqual([
    'PATH=/x',
    'TERM=xterm',
    'HOSTNAME=image',
    'A=',
    'B=3=4',
  ])
})

test('cwd: the container, the image, the root; never relative', () => {
  expect(spec({ workingDir: '/w' }, { Cmd: ['x'], WorkingDir: '/i' }).process.cwd).toBe('/w')
  expect(spec({}, { Cmd: ['x'], WorkingDir: '/i' }).process.cwd).toBe('/i')
  expect(spec({}).process.cwd).toBe('/')
  expect(() => spec({ workingDir: 'w' })).toThrow('not absolute')
})

test.each([
  [-998, true, 0, -998],
  [-998, false, 0, 0],
  [-998, false, -500, -500],
  [1000, false, 0, 1000],
])('oom score %i, may lower %s, own %i gives %i', (asked, canLowerOomScore, oomScoreAdj, expected) => {
  expect(clampOomScore(asked, { canLowerOomScore, oomScoreAdj })).toBe(expected)
})

describe('namespaces', () => {
  const of = (options: object, more: Overrides = {}) =>
    spec({ linux: { securityContext: { namespaceOptions: options } } }, undefined, more).linux.namespaces

  test('a pod member joins the pinned ones', () => {
    expect(of({ pid: NamespaceMode.CONTAINER })).toEqual([
      { type: 'mount' },
      { type: 'network', path: '/ns/net' },
      { type: 'uts', path: '/ns/uts' },
      { type: 'ipc', path: '/ns/ipc' },
      { type: 'pid' },
    ])
  })

  test('the host ones are left out', () => {
    const node = NamespaceMode.NODE
    expect(of({ network: node, ipc: node, pid: node })).toEqual([{ type: 'mount' }])
  })

  test('the PID namespace of the pod or of another container', () => {
    expect(of({ pid: NamespaceMode.POD }, { sandbox: { pidPath: '/ns/pid' } })).toContainEqual({
      type: 'pid',
      path: '/ns/pid',
    })
    expect(of({ pid: NamespaceMode.TARGET, targetId: 'x' }, { targetPid: 42 })).toContainEqual({
      type: 'pid',
      path: '/proc/42/ns/pid',
    })
    expect(() => of({ pid: NamespaceMode.TARGET, targetId: 'x' })).toThrow('target container "x" is not running')
  })

  test('a container that names none is in those of its pod, whatever they are', () => {
    const nodes = { networkPath: undefined, utsPath: undefined, ipcPath: undefined }
    expect(of({}, { sandbox: { ...nodes, nodePids: true } })).toEqual([{ type: 'mount' }])
    expect(of({}, { sandbox: nodes })).toEqual([{ type: 'mount' }, { type: 'pid' }])
    expect(of({}, { sandbox: { pidPath: '/ns/pid' } })).toEqual([
      { type: 'mount' },
      { type: 'network', path: '/ns/net' },
      { type: 'uts', path: '/ns/uts' },
      { type: 'ipc', path: '/ns/ipc' },
      { type: 'pid', path: '/ns/pid' },
    ])
    const config = { linux: { securityContext: { namespaceOptions: {} } } }
    const { mounts } = spec(config, undefined, { sandbox: { ...nodes, shmPath: undefined } })
    expect(mounts).toContainEqual(expect.objectContaining({ destination: '/dev/shm', source: '/dev/shm' }))
  })

  test('a cgroup namespace only on version 2', () => {
    expect(of({ pid: NamespaceMode.CONTAINER }, { host: { cgroupVersion: 2 } })).toContainEqual({ type: 'cgroup' })
  })

  test("the pod's user namespace comes first, and is asked for by each container", () => {
    const line = { containerId: 0, hostId: 100_000, length: 5 }
    const userNamespace = { path: '/ns/user', uids: [line], gids: [line] }
    const usernsOptions = { mode: NamespaceMode.POD, uids: [line], gids: [line] }
    const namespaceOptions = { pid: NamespaceMode.CONTAINER, usernsOptions }
    const config = { linux: { securityContext: { namespaceOptions } } }
    const { linux, mounts } = spec(config, { Cmd: ['true'] }, { sandbox: { userNamespace } })
    expect(linux.namespaces[0]).toEqual({ type: 'user', path: '/ns/user' })
    const mapping = [{ containerID: 0, hostID: 100_000, size: 5 }]
    expect(linux).toMatchObject({ uidMappings: mapping, gidMappings: mapping })
    // Group 5 is not mapped.
    expect(mounts.find(({ destination }) => destination === '/dev/pts')?.options).not.toContain('gid=5')
    expect(mounts.find(({ destination }) => destination === '/sys')?.type).toBe('sysfs')
    const differs = "the container's user namespace differs from its sandbox's"
    expect(() => of({ usernsOptions })).toThrow(differs)
    expect(() => of({}, { sandbox: { userNamespace } })).toThrow(differs)
    const one = { mode: NamespaceMode.POD, uids: [line], gids: [] }
    expect(() => of({ usernsOptions: one }, { sandbox: { userNamespace } })).toThrow('exactly one gid mapping, not 0')
  })

  test("a user namespace in the node's network sees the node's /sys, read-only", () => {
    const line = { containerId: 0, hostId: 100_000, length: 65_536 }
    const { networkPath: _net, utsPath: _uts, ...rest } = sandbox
    const options = { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER }
    const usernsOptions = { mode: NamespaceMode.POD, uids: [line], gids: [line] }
    const config = { linux: { securityContext: { namespaceOptions: { ...options, usernsOptions } } } }
    const { mounts } = buildSpec({
      container: ContainerConfig.fromPartial(config),
      sandbox: PodSandboxConfig.fromPartial({ linux: { cgroupParent: '/p' } }),
      image: { Cmd: ['true'] },
      facts: {
        container: {
          id: 'c',
          rootfs: '/root',
          user: { uid: 0, gid: 0, additionalGids: [] },
          sources: {},
          imageVolumes: {},
          devices: {},
          hostDevices: [],
        },
        sandbox: { ...rest, userNamespace: { path: '/ns/user', uids: [line], gids: [line] } },
        host,
      },
    })
    expect(mounts.find(({ destination }) => destination === '/sys')).toMatchObject({
      type: 'bind',
      source: '/sys',
      options: expect.arrayContaining(['rbind', 'rro']),
    })
    expect(mounts.find(({ destination }) => destination === '/dev/pts')?.options).toContain('gid=5')
  })
})

describe('mounts', () => {
  const mount = (containerPath: string, hostPath: string, more: object = {}) => ({ containerPath, hostPath, ...more })
  const destinations = (config: Config, image?: ImageConfig) =>
    spec(config, image).mounts.map(({ destination }) => destination)

  test('defaults and the files of the sandbox, parents first', () => {
    expect(destinations({})).toEqual([
      '/proc', '/dev', '/sys', '/dev/pts', '/dev/mqueue', '/etc/hostname', '/etc/hosts', '/dev/shm', '/sys/fs/cgroup',
    ]) // prettier-ignore
  })

  test('a mount of the container replaces the default, and /dev all below it', () => {
    expect(destinations({ mounts: [mount('/etc/hosts/', '/private'), mount('/dev', '/shared')] })).toEqual([
      '/proc', '/sys', '/dev', '/etc/hostname', '/etc/hosts', '/sys/fs/cgroup',
    ]) // prettier-ignore
  })

  test('volumes of the image, unless mounted', () => {
    const image = { Cmd: ['x'], Volumes: { '/data': {}, '/more': {} } }
    const { mounts } = spec({ mounts: [mount('/more', '/private')] }, image)
    expect(mounts).toContainEqual({
      destination: '/data',
      type: 'bind',
      source: '/volumes/data',
      options: ['rbind', 'rprivate', 'rw'],
    })
    expect(mounts.filter(({ destination }) => destination === '/more').map(({ source }) => source)).toEqual([
      '/real/private',
    ])
  })

  test('a volume of the image is not below /dev because its name begins so', () => {
    const image = { Cmd: ['x'], Volumes: { '/devel': {} } }
    expect(destinations({ mounts: [mount('/dev', '/shared')] }, image)).toContain('/devel')
  })

  test('mounts of one depth keep their order', () => {
    const mounts = [mount('/b/x', '/private'), mount('/a/x', '/private'), mount('/z', '/private')]
    expect(destinations({ mounts }).filter((path) => /^.(a|b|z)/.test(path))).toEqual(['/z', '/b/x', '/a/x'])
  })

  test('both propagations need the root shared', () => {
    const mounts = [mount('/m', '/shared', { propagation: 1 }), mount('/n', '/shared', { propagation: 2 })]
    expect(spec({ mounts }).linux.rootfsPropagation).toBe('rshared')
  })

  test('files of the pod are read-only with the root', () => {
    const linux = { securityContext: { readonlyRootfs: true } }
    const { mounts, root } = spec({ linux })
    expect(root.readonly).toBe(true)
    expect(mounts.find(({ destination }) => destination === '/etc/hosts')?.options).toContain('ro')
    expect(mounts.find(({ destination }) => destination === '/dev/shm')?.options).toContain('rw')
  })

  test('masked and read-only paths are those that are given, none by default', () => {
    const lists = { maskedPaths: ['/proc/kcore'], readonlyPaths: ['/proc/sys'] }
    expect(spec({ linux: { securityContext: lists } }).linux).toMatchObject(lists)
    expect(spec({}).linux).toMatchObject({ maskedPaths: [], readonlyPaths: [] })
  })

  test('read-only ways', () => {
    const options = (more: object, hostPath = '/private') =>
      spec({ mounts: [mount('/m', hostPath, more)] }).mounts.find(({ destination }) => destination === '/m')?.options
    expect(options({ readonly: true })).toEqual(['rbind', 'rprivate', 'ro'])
    expect(options({ readonly: true, recursiveReadOnly: true })).toEqual(['rbind', 'rprivate', 'rro'])
    expect(() => options({ recursiveReadOnly: true })).toThrow('conflicts with RW mount')
    expect(() => options({ readonly: true, recursiveReadOnly: true, propagation: 1 }, '/slave')).toThrow(
      'needs private propagation',
    )
  })

  test.each([
    [MountPropagation.PROPAGATION_BIDIRECTIONAL, '/shared', 'rshared', 'rshared'],
    [MountPropagation.PROPAGATION_HOST_TO_CONTAINER, '/slave', 'rslave', 'rslave'],
    [MountPropagation.PROPAGATION_PRIVATE, '/shared', 'rprivate', undefined],
  ])('propagation %i from %s is %s', (propagation, hostPath, option, root) => {
    const { mounts, linux } = spec({ mounts: [mount('/m', hostPath, { propagation })] })
    expect(mounts.find(({ destination }) => destination === '/m')?.options).toContain(option)
    expect(linux.rootfsPropagation).toBe(root)
  })

  test.each<[string, Config, string]>([
    [
      'bidirectional on private',
      { mounts: [mount('/m', '/private', { propagation: 2 })] },
      'path "/real/private" is mounted on "/real" but it is not a shared mount',
    ],
    [
      'bidirectional on a slave',
      { mounts: [mount('/m', '/slave', { propagation: 2 })] },
      'path "/slave" is mounted on "/slave" but it is not a shared mount',
    ],
    [
      'host to container on private',
      { mounts: [mount('/m', '/private', { propagation: 1 })] },
      'path "/real/private" is mounted on "/real" but it is not a shared or slave mount',
    ],
    ['unknown propagation', { mounts: [mount('/m', '/shared', { propagation: 7 })] }, 'propagation 7 is unknown'],
    ['wrong permissions', { devices: [{ hostPath: '/dev/fuse', permissions: 'rx' }] }, 'are not among rwm'],
    [
      'keys of cgroup v2 on version 1',
      { linux: { resources: { unified: { 'memory.high': '1' } } } },
      'resources memory.high are of cgroup v2',
    ],
    ['missing source', { mounts: [mount('/m', '/none')] }, 'host path /none does not exist'],
    ['image volume', { mounts: [mount('/m', '', { image: { image: 'x' } })] }, 'has neither a host path nor an image'],
    ['unknown device', { devices: [{ hostPath: '/dev/none' }] }, 'device /dev/none is not a device'],
    [
      'privileged in a plain pod',
      { linux: { securityContext: { privileged: true } } },
      'no privileged container allowed',
    ],
  ])('%s is refused', (_, config, message) => {
    expect(() => spec(config)).toThrow(message)
  })
})

describe('resources', () => {
  test('zero is unset; a limit alone forbids swap where swap is counted', () => {
    const linux = { resources: { cpuShares: 512n, cpuQuota: -1n, memoryLimitInBytes: 1024n } }
    expect(spec({ linux }).linux.resources).toMatchObject({
      cpu: { shares: 512, quota: -1 },
      memory: { limit: 1024, swap: 1024 },
    })
    expect(spec({ linux }, undefined, { host: { swapLimit: false } }).linux.resources.memory).toEqual({ limit: 1024 })
    expect(spec({ linux: { resources: {} } }).linux.resources).toEqual({ devices: [{ allow: false, access: 'rwm' }] })
  })

  test('huge pages are limited where the kernel counts them; keys of cgroup v2 pass', () => {
    const linux = { resources: { hugepageLimits: [{ pageSize: '2MB', limit: 4n }], unified: { 'memory.high': '1' } } }
    const v2 = { cgroupVersion: 2 as const }
    const { resources } = spec({ linux }, undefined, { host: v2 }).linux
    expect(resources).toMatchObject({
      hugepageLimits: [{ pageSize: '2MB', limit: 4 }],
      unified: { 'memory.high': '1' },
    })
    const without = spec({ linux }, undefined, { host: { ...v2, hugetlb: false } }).linux
    expect(without.resources).not.toHaveProperty('hugepageLimits')
  })

  test('swap as it is asked for', () => {
    const linux = { resources: { memoryLimitInBytes: 1024n, memorySwapLimitInBytes: 4096n } }
    expect(spec({ linux }).linux.resources.memory).toEqual({ limit: 1024, swap: 4096 })
  })

  test('the cgroup is below the pod; slices are of the other driver', () => {
    expect(cgroupsPath('cgroupfs', '/kubepods/pod1/', 'c')).toBe('/kubepods/pod1/c')
    expect(cgroupsPath('cgroupfs', '', 'c')).toBe('/nodelet/c')
    expect(() => cgroupsPath('cgroupfs', '/kubepods.slice', 'c')).toThrow('cgroupDriver to cgroupfs')
  })

  test('the monitor is below the pod, too, where not only systemd may make cgroups', () => {
    expect(monitorCgroup('cgroupfs', '/kubepods/pod1/', 'c')).toBe('/kubepods/pod1/nodelet-conmon-c')
    expect(monitorCgroup('systemd', 'kubepods.slice', 'c')).toBeUndefined()
  })

  test('with systemd the cgroup is a scope of the last slice', () => {
    const parent = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice'
    expect(cgroupsPath('systemd', parent, 'c')).toBe('kubepods-burstable-pod1.slice:nodelet:c')
    expect(containerCgroup('systemd', parent, 'c')).toBe(`${parent}/nodelet-c.scope`)
    expect(containerCgroup('systemd', 'a-b.slice', 'c')).toBe('/a.slice/a-b.slice/nodelet-c.scope')
    expect(cgroupsPath('systemd', '', 'c')).toBe('system.slice:nodelet:c')
    expect(() => cgroupsPath('systemd', '/kubepods/pod1', 'c')).toThrow('cgroupDriver to systemd')
    for (const bad of ['-.slice', 'a', 'a--b.slice', '/a.slice', '-a.slice'])
      expect(() => expandSlice(bad)).toThrow(bad)
  })

  test('a handler passes on annotations, opens cgroups, keeps devices back, and may lack recursive read-only', () => {
    const image = { Cmd: ['x'] }
    const { annotations } = spec({ annotations: { one: '1', two: '2' } }, image, {
      handler: { podAnnotations: ['a.b/*'], containerAnnotations: ['one'] },
      podAnnotations: { 'a.b/c': 'x', other: 'y' },
    })
    expect(annotations).toMatchObject({ one: '1', 'a.b/c': 'x' })
    expect(annotations).not.toHaveProperty('two')
    expect(annotations).not.toHaveProperty('other')
    const { mounts } = spec({}, image, { handler: { cgroupWritable: true } })
    expect(mounts.find(({ type }) => type === 'cgroup')?.options).toContain('rw')
    const privileged = { linux: { securityContext: { privileged: true } } }
    const kept = spec(privileged, image, { handler: { privilegedWithoutHostDevices: true }, privilegedPod: true })
    expect(kept.linux.resources.devices).toEqual([{ allow: false, access: 'rwm' }])
    const volume = { containerPath: '/m', hostPath: '/private', readonly: true, recursiveReadOnly: true }
    expect(() => spec({ mounts: [volume] }, image, { handler: {} })).toThrow(/^RROUnsupported: /)
  })

  test('devices get nodes and rules', () => {
    const { devices, resources } = spec({
      devices: [{ hostPath: '/dev/fuse', containerPath: '/dev/f', permissions: 'rw' }],
    }).linux
    expect(devices).toMatchObject([{ path: '/dev/f', major: 10, minor: 229 }])
    expect(resources.devices).toEqual([
      { allow: false, access: 'rwm' },
      { allow: true, type: 'c', major: 10, minor: 229, access: 'rw' },
    ])
  })
})

test.each([
  [0xae5, 10, 229],
  [0xfe00, 254, 0],
  [0x10305, 259, 5],
  [0x10082c, 8, 300],
])('device number %i is %i:%i', (rdev, major, minor) => {
  expect(deviceNumbers(rdev)).toEqual({ major, minor })
})

test('a folder of devices keeps its shape at the path in the container', () => {
  const node = { type: 'c' as const, major: 1, minor: 2, fileMode: 0o600, uid: 0, gid: 44 }
  const nodes = [
    { path: '/dev/snd/a', ...node },
    { path: '/dev/snd/by/b', ...node },
  ]
  const config = { devices: [{ hostPath: '/dev/snd', containerPath: '/dev/sound', permissions: 'r' }] }
  const { devices } = spec(config, undefined, { container: { devices: { '/dev/snd': nodes } } }).linux
  expect(devices.map(({ path, gid }) => [path, gid])).toEqual([
    ['/dev/sound/a', 44],
    ['/dev/sound/by/b', 44],
  ])
  const owned = spec(config, undefined, {
    container: { devices: { '/dev/snd': nodes }, deviceOwner: { uid: 7, gid: 8 } },
  })
  expect(owned.linux.devices[0]).toMatchObject({ uid: 7, gid: 8 })
})

test('a privileged container has the devices that it names besides those of the host', () => {
  const config = {
    devices: [{ hostPath: '/dev/fuse', containerPath: '/dev/mine' }],
    linux: { securityContext: { privileged: true } },
  }
  const { devices, resources } = spec(config, undefined, { privilegedPod: true }).linux
  expect(devices.map(({ path }) => path)).toEqual(['/dev/vda', '/dev/mine'])
  expect(resources.devices).toEqual([{ allow: true, access: 'rwm' }])
})

test("a pod's own container says so, and what the pod may use", () => {
  const pod = { logDirectory: '/logs', linux: { cgroupParent: '/p', resources: { cpuShares: 512n, cpuPeriod: 1000n } } }
  const { annotations } = spec({}, undefined, { container: { isInfra: true }, pod })
  expect(annotations).toMatchObject({
    'io.kubernetes.cri.container-type': 'sandbox',
    'io.kubernetes.cri.sandbox-log-directory': '/logs',
    'io.kubernetes.cri.sandbox-cpu-shares': '512',
    'io.kubernetes.cri.sandbox-cpu-period': '1000',
    'io.kubernetes.cri.sandbox-cpu-quota': '0',
    'io.kubernetes.cri.sandbox-memory': '0',
  })
  expect(annotations).not.toHaveProperty('io.kubernetes.cri.container-name')
})

test('annotations name the pod', () => {
  expect(spec({ metadata: { name: 'app' }, image: { image: 'busybox:1' } }).annotations).toMatchObject({
    'io.kubernetes.cri.container-type': 'container',
    'io.kubernetes.cri.sandbox-id': 'pod1',
    'io.kubernetes.cri.sandbox-name': 'web',
    'io.kubernetes.cri.sandbox-namespace': 'default',
    'io.kubernetes.cri.sandbox-uid': 'u1',
    'io.kubernetes.cri.container-name': 'app',
    'io.kubernetes.cri.image-name': 'busybox:1',
  })
})

test.each([
  ['TERM', 'SIGTERM'],
  ['sigquit', 'SIGQUIT'],
  ['15', '15'],
  ['SIGRTMIN+3', '37'],
  ['RTMAX-1', '63'],
  ['', undefined],
  ['99', undefined],
  ['NOPE', undefined],
])('signal %s is %s', (text, expected) => {
  expect(parseSignal(text)).toBe(expected)
})

test.each([
  ['SIGRTMINPLUS3', '37'],
  ['SIGRTMAXMINUS1', '63'],
  ['SIGCLD', 'SIGCHLD'],
  ['SIGQUIT', 'SIGQUIT'],
  ['RUNTIME_DEFAULT', undefined],
] as const)("CRI's signal %s is sent as %s", (name, expected) => {
  expect(signalName(Signal[name])).toBe(expected)
})

test.each([
  ['15', 'SIGTERM'],
  ['SIGTERM', 'SIGTERM'],
  ['37', 'SIGRTMINPLUS3'],
  ['50', 'SIGRTMAXMINUS14'],
  ['64', 'SIGRTMAX'],
] as const)('signal %s of an image is %s in CRI', (text, name) => {
  expect(criSignal(text)).toBe(Signal[name])
})

test('a log is read back by stream, whole and partial lines joined', () => {
  const log = 't stdout P a\nt stderr F x y\nt stdout F b\nt stdout F \nt stdout P end\nt std'
  const { stdout, stderr } = parseLog(Buffer.from(log), 100)
  expect([stdout.toString(), stderr.toString()]).toEqual(['ab\n\nend', 'x y\n'])
  expect(parseLog(Buffer.from(log), 3).stdout.toString()).toBe('ab\n')
})
