// Volumes: what is seen of them, in which direction, and how often written.
import { deepStrictEqual, match, rejects, strictEqual } from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type DeepPartial, Mount, MountPropagation } from '../gen/runtime.ts'
import { type Checks, SuiteSkip, type ValidationRuntime } from './suite-checks.ts'
import { openPod, pull, type TestPod } from './suite-pod.ts'

const { PROPAGATION_PRIVATE, PROPAGATION_HOST_TO_CONTAINER, PROPAGATION_BIDIRECTIONAL } = MountPropagation

async function volume({ folder }: ValidationRuntime): Promise<string> {
  const path = join(folder, randomUUID())
  await mkdir(path)
  await writeFile(join(path, 'file'), 'from the host\n')
  return path
}

/** Both directions of a volume's mounts: whether the container sees the host's, and the host the container's. */
async function propagation(runtime: ValidationRuntime, way: MountPropagation): Promise<[boolean, boolean]> {
  const { mounts } = runtime
  await using undo = new AsyncDisposableStack()
  const source = await volume(runtime)
  const path = await volume(runtime)
  const [down, up] = [join(path, 'down'), join(path, 'up')]
  for (const each of [down, up]) await mkdir(each)
  await mounts.self(path, way === PROPAGATION_PRIVATE ? 'private' : 'shared')
  undo.defer(async () => mounts.unmount(path))
  await using pod = await openPod(runtime, { linux: { securityContext: { privileged: true } } })
  const mount = { hostPath: path, containerPath: path, propagation: way }
  const id = await pod.run({ mounts: [mount], linux: { securityContext: { privileged: true } } })
  const [shown] = (await pod.container(id)).mounts
  deepStrictEqual(shown, Mount.fromPartial(mount))
  await mounts.bind(source, down)
  undo.defer(async () => mounts.unmount(down))
  const seen = await pod.output(id, 'ls', '-A', down)
  await pod.output(id, 'mount', '--bind', '/etc', up)
  const sees = (await readdir(up)).length > 0
  await pod.output(id, 'umount', up)
  return [seen !== '', sees]
}

async function withRro(
  runtime: ValidationRuntime,
  mount: DeepPartial<Mount>,
): Promise<[TestPod, AsyncDisposableStack]> {
  const { runtimeHandlers } = await runtime.runtimeService.status({ verbose: false })
  const features = runtimeHandlers.find(({ name }) => name === runtime.handler)?.features
  if (mount.recursiveReadOnly && !features?.recursiveReadOnlyMounts) {
    throw new SuiteSkip('the handler has no recursive read-only mounts')
  }
  const undo = new AsyncDisposableStack()
  const path = await volume(runtime)
  const below = join(path, 'below')
  await mkdir(below)
  await runtime.mounts.tmpfs(below)
  undo.defer(async () => runtime.mounts.unmount(below))
  const pod = undo.use(await openPod(runtime, { linux: { securityContext: { privileged: true } } }))
  const create = pod.create
  pod.create = async (config) =>
    create({ ...config, mounts: [{ hostPath: path, containerPath: '/volume', readonly: true, ...mount }] })
  return [pod, undo]
}

async function refusesRro(runtime: ValidationRuntime, mount: DeepPartial<Mount>): Promise<void> {
  const [pod, undo] = await withRro(runtime, { recursiveReadOnly: true, ...mount })
  await using _ = undo
  await rejects(pod.create())
}

export const mountChecks: Checks = {
  async 'a folder and a file of the host, and what is written to them'(runtime) {
    const path = await volume(runtime)
    await using pod = await openPod(runtime)
    const mounts = [
      { hostPath: path, containerPath: '/volume', selinuxRelabel: true },
      { hostPath: join(path, 'file'), containerPath: '/etc/one-file' },
    ]
    const id = await pod.run({ mounts })
    strictEqual(await pod.output(id, 'cat', '/volume/file', '/etc/one-file'), 'from the host\n'.repeat(2))
    await pod.output(id, 'sh', '-c', 'echo back >/volume/back')
    strictEqual(await readFile(join(path, 'back'), 'utf8'), 'back\n')
    const { mounts: shown } = await pod.container(id)
    deepStrictEqual(
      shown,
      mounts.map((mount) => Mount.fromPartial(mount)),
    )
  },
  async 'a link on the host is followed'(runtime) {
    const path = await volume(runtime)
    await symlink(path, `${path}-link`)
    await using pod = await openPod(runtime)
    const id = await pod.run({ mounts: [{ hostPath: `${path}-link`, containerPath: `${path}-link` }] })
    strictEqual(await pod.output(id, 'cat', `${path}-link/file`), 'from the host\n')
  },
  async 'a folder that is not there is made'(runtime) {
    const hostPath = join(await volume(runtime), 'not', 'there')
    await using pod = await openPod(runtime)
    const id = await pod.run({ mounts: [{ hostPath, containerPath: '/volume' }] })
    strictEqual(await pod.output(id, 'ls', '-A', '/volume'), '')
    strictEqual(existsSync(hostPath), true)
  },
  async 'private: no mount is seen on the other side'(runtime) {
    deepStrictEqual(await propagation(runtime, PROPAGATION_PRIVATE), [false, false])
  },
  async 'rslave: mounts of the host are seen in the container'(runtime) {
    deepStrictEqual(await propagation(runtime, PROPAGATION_HOST_TO_CONTAINER), [true, false])
  },
  async 'rshared: mounts are seen on both sides'(runtime) {
    deepStrictEqual(await propagation(runtime, PROPAGATION_BIDIRECTIONAL), [true, true])
  },
  async 'rshared needs a source that is shared'(runtime) {
    const path = await volume(runtime)
    await runtime.mounts.self(path, 'private')
    try {
      await using pod = await openPod(runtime, { linux: { securityContext: { privileged: true } } })
      const mounts = [{ hostPath: path, containerPath: path, propagation: PROPAGATION_BIDIRECTIONAL }]
      await rejects(pod.run({ mounts, linux: { securityContext: { privileged: true } } }), /shared mount/)
    } finally {
      await runtime.mounts.unmount(path)
    }
  },
  async 'read-only leaves mounts below it writable'(runtime) {
    const [pod, undo] = await withRro(runtime, {})
    await using _ = undo
    const id = await pod.run()
    await pod.output(id, 'touch', '/volume/below/file')
    match((await pod.result(id, 'touch', '/volume/file')).stderr, /Read-only file system/)
  },
  async 'recursive read-only reaches mounts below it'(runtime) {
    const [pod, undo] = await withRro(runtime, { recursiveReadOnly: true })
    await using _ = undo
    const id = await pod.run()
    match((await pod.result(id, 'touch', '/volume/below/file')).stderr, /Read-only file system/)
    strictEqual((await pod.container(id)).mounts[0]?.recursiveReadOnly, true)
  },
  'recursive read-only with rslave is refused': async (runtime) =>
    refusesRro(runtime, { propagation: PROPAGATION_HOST_TO_CONTAINER }),
  'recursive read-only with rshared is refused': async (runtime) =>
    refusesRro(runtime, { propagation: PROPAGATION_BIDIRECTIONAL }),
  'recursive read-only without read-only is refused': async (runtime) => refusesRro(runtime, { readonly: false }),
}

/** Mounts an image and reads `file` of it. */
async function imageMount(
  runtime: ValidationRuntime,
  mount: DeepPartial<Mount>,
  check: (pod: TestPod, id: string, image: string) => Promise<void>,
): Promise<void> {
  const image = await pull(runtime, runtime.image('busybox:1'))
  await using pod = await openPod(runtime)
  const given = { image, userSpecifiedImage: runtime.image('busybox:1') }
  const id = await pod.run({ mounts: [{ containerPath: '/mnt/image', readonly: true, image: given, ...mount }] })
  await check(pod, id, image)
}

export const imageMountChecks: Checks = {
  async 'an image is mounted, read-only, with programs that run'(runtime) {
    await imageMount(runtime, {}, async (pod, id) => {
      match(await pod.output(id, '/mnt/image/bin/ls', '/mnt/image'), /^bin\n/)
      match((await pod.result(id, 'touch', '/mnt/image/file')).stderr, /Read-only file system/)
    })
  },
  async 'the status names the ID of the mounted image'(runtime) {
    await imageMount(runtime, {}, async (pod, id, image) => {
      const [shown] = (await pod.container(id)).mounts
      deepStrictEqual([shown?.containerPath, shown?.image?.imageRef], ['/mnt/image', image])
    })
  },
  async 'a part of an image'(runtime) {
    await imageMount(runtime, { imageSubPath: 'etc' }, async (pod, id) => {
      match(await pod.output(id, 'cat', '/mnt/image/passwd'), /^root:/)
    })
  },
  'a part that is not in the image is refused': async (runtime) =>
    rejects(imageMount(runtime, { imageSubPath: 'no/such' }, async () => {})),
  'a writable one is refused': async (runtime) => rejects(imageMount(runtime, { readonly: false }, async () => {})),
}
