// Images that were pulled with credentials are not for those who have none.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type KubeClient, pods, secrets } from '@nodelet/kube-client'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Front, startFront } from '../../runtime-runc/test/registry-front.ts'
import { systemClock } from '../src/clock.ts'
import { createImageGuard } from '../src/pull-records/guard.ts'
import { openPullRecords, type PullSecret } from '../src/pull-records/records.ts'
import { needsProof, type VerificationPolicy } from '../src/pull-records/rules.ts'
import { isReady, namespace, startWholeCluster, stay, type WholeCluster } from './whole-cluster.ts'

const image = 'registry.example/team/app:1'
const secret = (name: string, credentialHash = `hash of ${name}`): PullSecret => ({
  uid: `uid of ${name}`,
  namespace: 'default',
  name,
  credentialHash,
})

it.each([
  ['NeverVerify', true, false],
  ['NeverVerifyPreloadedImages', false, false],
  ['NeverVerifyPreloadedImages', true, true],
  ['NeverVerifyAllowlistedImages', false, true],
  ['AlwaysVerify', false, true],
] as const)('%s, pulled here %s: proof is needed %s', (policy, pulledHere, expected) => {
  expect(needsProof(image, pulledHere, { policy, allowlist: [] })).toBe(expected)
})

it.each([
  ['registry.example/team/app', false],
  ['registry.example/team/*', false],
  ['registry.example/tea', true],
])('with %s allowed, proof is needed: %s', (pattern, expected) => {
  expect(needsProof(image, false, { policy: 'NeverVerifyAllowlistedImages', allowlist: [pattern] })).toBe(expected)
})

describe('the guard', () => {
  let folder: string
  const policy: VerificationPolicy = { policy: 'NeverVerifyPreloadedImages', allowlist: [] }
  const open = () => createImageGuard(openPullRecords(folder), policy, systemClock)
  const use = async (guard: ReturnType<typeof open>, ...own: PullSecret[]) =>
    guard.mayUse(image, 'sha256:1', async () => own)
  const filesOf = (name: string) => readdirSync(join(folder, 'image_manager', name))
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nodelet-pulls-'))
    return () => rmSync(folder, { recursive: true, force: true })
  })

  it('lets in who has the secret, or another with the same content, and remembers that one', async () => {
    const guard = open()
    expect(await use(guard)).toBe('open') // nobody here pulled it
    await guard.pulling(image, async () => ({ imageRef: 'sha256:1', secret: secret('a') }))
    expect(await use(guard)).toBe('closed')
    expect(await use(guard, secret('b'))).toBe('closed')
    expect(await use(guard, secret('a'))).toBe('proven')
    expect(await use(guard, secret('b', 'hash of a'))).toBe('proven')
    expect(await use(open(), secret('b', 'changed since'))).toBe('proven')
    expect(filesOf('pulling')).toEqual([])
    expect(
      JSON.parse(readFileSync(join(folder, 'image_manager/pulled', filesOf('pulled')[0] ?? ''), 'utf8')),
    ).toMatchObject({
      kind: 'ImagePulledRecord',
      imageRef: 'sha256:1',
      credentialMapping: { 'registry.example/team/app': { kubernetesSecrets: [{ name: 'a' }, { name: 'b' }] } },
    })
    await guard.pulling(image, async () => ({ imageRef: 'sha256:1', secret: undefined }))
    expect(await use(guard)).toBe('proven') // anybody can pull it
  })

  it('after a pull that was cut short nobody is let in without a pull; a record that is damaged lets nobody in', async () => {
    await openPullRecords(folder).begin(image)
    const guard = open()
    await guard.start(async () => 'sha256:1')
    expect(filesOf('pulling')).toEqual([])
    expect(await use(guard, secret('a'))).toBe('closed')
    writeFileSync(join(folder, 'image_manager/pulled', filesOf('pulled')[0] ?? ''), '{')
    expect(await use(guard, secret('a'))).toBe('closed')
  })

  it('lets nobody in when a pull could not be recorded', async () => {
    const records = openPullRecords(folder)
    const write = async (): Promise<never> => Promise.reject(new Error('no space left'))
    const full = createImageGuard({ ...records, write }, policy, systemClock)
    const pull = async () => ({ imageRef: 'sha256:1', secret: secret('a') })
    await expect(full.pulling(image, pull)).rejects.toThrow('no space left')
    expect(await use(full)).toBe('closed')
    const next = open()
    await next.start(async () => 'sha256:1')
    expect(await use(next)).toBe('closed')
  })

  it('forgets an image that is gone, not one that came since it was looked for', async () => {
    const guard = open()
    const thenMs = Date.now() - 1000
    await guard.pulling(image, async () => ({ imageRef: 'sha256:1', secret: secret('a') }))
    await guard.prune(new Set(), thenMs)
    expect(await use(guard)).toBe('closed')
    await guard.prune(new Set(), Date.now() + 1000)
    expect(await use(guard)).toBe('open')
  })

  it('keeps the intent of a pull that fails as long as another of the image runs', async () => {
    const guard = open()
    const gate = Promise.withResolvers<never>()
    const first = expect(guard.pulling(image, async () => gate.promise)).rejects.toThrow('neither')
    await expect(guard.pulling(image, async () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(filesOf('pulling')).toHaveLength(1)
    gate.reject(new Error('neither'))
    await first
    expect(filesOf('pulling')).toEqual([])
  })
})

describe('a registry with passwords', () => {
  let world: WholeCluster
  let front: Front
  let admin: KubeClient
  beforeAll(async () => {
    world = await startWholeCluster()
    ;({ admin } = world)
    front = await startFront(world.f.registry.host, (request, response, pass) => {
      if (request.headers.authorization === `Basic ${Buffer.from('me:mine').toString('base64')}`) return pass()
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end()
    })
    for (const name of ['mine', 'same']) {
      const auths = { [front.host]: { username: 'me', password: 'mine' } }
      await admin.create(secrets, {
        metadata: { name, namespace },
        type: 'kubernetes.io/dockerconfigjson',
        data: { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })).toString('base64') },
      })
    }
  })
  afterAll(async () => {
    await front?.[Symbol.asyncDispose]()
    await world?.[Symbol.asyncDispose]()
  })

  it('what one pod pulled another does not get for nothing', async () => {
    const start = async (name: string, pullSecret?: string, imagePullPolicy = 'IfNotPresent') =>
      world.create(name, {
        ...(pullSecret && { imagePullSecrets: [{ name: pullSecret }] }),
        containers: [world.shell(stay, { image: `${front.host}/apps/busybox:1`, imagePullPolicy })],
      })
    const reasonOf = async (name: string) =>
      (await world.read(name)).status?.containerStatuses?.[0]?.state?.waiting?.reason
    await world.watched(await start('first', 'mine'), isReady)
    await start('stranger')
    await expect.poll(async () => reasonOf('stranger')).toMatch(/ErrImagePull|ImagePullBackOff/)
    await start('never', undefined, 'Never')
    await expect.poll(async () => reasonOf('never')).toBe('ErrImageNeverPull')
    const asked = front.asked.length
    await world.watched(await start('friend', 'same', 'Never'), isReady)
    expect(front.asked).toHaveLength(asked) // it was not pulled again
    for (const name of ['first', 'stranger', 'never', 'friend']) await admin.delete(pods, { name, namespace })
  })
})
