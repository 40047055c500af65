// As whom a container runs.
import { deepStrictEqual, rejects, strictEqual } from 'node:assert/strict'
import { type ContainerUser, SupplementalGroupsPolicy } from '../gen/runtime.ts'
import { type Checks, SuiteSkip, type ValidationRuntime } from './suite-checks.ts'
import { openPod } from './suite-pod.ts'

const value = (number: number): { value: bigint } => ({ value: BigInt(number) })
const ids = ['sh', '-c', 'echo "$(id -u):$(id -g):$(id -G)"']

/** The groups of its first process and of a command in it, and the user in the status. */
async function grouped(runtime: ValidationRuntime, policy: SupplementalGroupsPolicy): Promise<unknown> {
  const { features } = await runtime.runtimeService.status({ verbose: false })
  if (!features?.supplementalGroupsPolicy) throw new SuiteSkip('Status has no feature supplementalGroupsPolicy')
  await using pod = await openPod(runtime)
  const securityContext = {
    runAsUser: value(1000),
    supplementalGroups: [1234n],
    supplementalGroupsPolicy: policy,
  }
  const id = await pod.run({ command: ['sh', '-c', 'id -G; sleep 600'], linux: { securityContext } })
  const inside = (await pod.output(id, 'id', '-G')).trim()
  const { user } = await pod.container(id)
  const [first] = await pod.log(id)
  return { inside, first, user: sorted(user) }
}

const sorted = (user: ContainerUser | undefined): unknown => [
  user?.linux?.uid,
  user?.linux?.gid,
  user?.linux?.supplementalGroups.toSorted((a, b) => Number(a - b)),
]

export const userChecks: Checks = {
  async 'runAsUser by number, with group 0 unless it is known'(runtime) {
    await using pod = await openPod(runtime)
    strictEqual(await pod.output(await pod.secure({ runAsUser: value(1001) }), ...ids), '1001:0:0\n')
    strictEqual(await pod.output(await pod.secure({ runAsUser: value(1000) }), ...ids), '1000:1000:1000 50000\n')
  },
  async 'runAsUsername, which must be known'(runtime) {
    await using pod = await openPod(runtime)
    strictEqual(await pod.output(await pod.secure({ runAsUsername: 'nobody' }), 'id', '-nu'), 'nobody\n')
    await rejects(pod.secure({ runAsUsername: 'stranger' }))
  },
  async 'runAsGroup with a user'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.secure({ runAsUser: value(1001), runAsGroup: value(1002) })
    strictEqual(await pod.output(id, ...ids), '1001:1002:1002\n')
  },
  async 'runAsGroup without a user is refused'(runtime) {
    await using pod = await openPod(runtime)
    await rejects(pod.secure({ runAsGroup: value(1002) }), /user group .*without user/)
  },
  async 'supplementalGroups are added'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.secure({ supplementalGroups: [1234n, 5678n] })
    const groups = (await pod.output(id, 'id', '-G')).trim().split(' ')
    deepStrictEqual(
      ['1234', '5678'].filter((group) => !groups.includes(group)),
      [],
    )
  },
  async 'the user of the image, by number and by name'(runtime) {
    await using pod = await openPod(runtime)
    const users: [string, string][] = [
      ['uid', '1002:0\n'],
      ['username', '33:33\n'],
      ['uid-group', '1003:50000\n'],
      ['username-group', '33:100\n'],
    ]
    for (const [tag, expected] of users) {
      const id = await pod.run({ image: { image: runtime.image(`user:${tag}`) } })
      strictEqual(await pod.output(id, 'sh', '-c', 'echo "$(id -u):$(id -g)"'), expected, tag)
    }
  },
  async 'status shows the user that it runs as'(runtime) {
    await using pod = await openPod(runtime)
    const { user } = await pod.container(await pod.run())
    if (!user) throw new SuiteSkip('status has no user')
    deepStrictEqual(sorted(user), [0n, 0n, [0n]])
    const named = await pod.secure({ runAsUsername: 'www-data' })
    deepStrictEqual(sorted((await pod.container(named)).user), [33n, 33n, [33n]])
  },
  async 'merged groups: those asked for and those of the image'(runtime) {
    deepStrictEqual(await grouped(runtime, SupplementalGroupsPolicy.Merge), {
      inside: '1000 1234 50000',
      first: 'stdout F 1000 1234 50000',
      user: [1000n, 1000n, [1000n, 1234n, 50000n]],
    })
  },
  async 'strict groups: only those asked for'(runtime) {
    deepStrictEqual(await grouped(runtime, SupplementalGroupsPolicy.Strict), {
      inside: '1000 1234',
      first: 'stdout F 1000 1234',
      user: [1000n, 1000n, [1000n, 1234n]],
    })
  },
}
