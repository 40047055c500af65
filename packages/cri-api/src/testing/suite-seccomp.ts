// Filters of system calls.
import { match, rejects, strictEqual } from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type DeepPartial, type SecurityProfile, SecurityProfile_ProfileType } from '../gen/runtime.ts'
import type { Checks, ValidationRuntime } from './suite-checks.ts'
import { openPod } from './suite-pod.ts'

const { RuntimeDefault, Unconfined, Localhost } = SecurityProfile_ProfileType

/** A profile file that refuses those calls alone. */
async function profile({ folder }: ValidationRuntime, ...names: string[]): Promise<DeepPartial<SecurityProfile>> {
  const localhostRef = join(folder, `${randomUUID()}.json`)
  const syscalls = [{ names, action: 'SCMP_ACT_ERRNO' }]
  await writeFile(localhostRef, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }))
  return { profileType: Localhost, localhostRef }
}

/** 0 without a filter, 2 with one. */
async function mode(runtime: ValidationRuntime, seccomp: DeepPartial<SecurityProfile> | undefined): Promise<string> {
  await using pod = await openPod(runtime, { linux: { securityContext: { seccomp } } })
  const id = await pod.secure({ seccomp })
  return (await pod.output(id, 'grep', 'Seccomp:', '/proc/self/status')).replace(/^Seccomp:\s*/, '').trim()
}

const setHostname = ['hostname', 'new-name']
const capabilities = { addCapabilities: ['SYS_ADMIN'] }

export const seccompChecks: Checks = {
  async 'the default profile filters, unconfined and none do not'(runtime) {
    strictEqual(await mode(runtime, { profileType: RuntimeDefault }), '2')
    strictEqual(await mode(runtime, { profileType: Unconfined }), '0')
    strictEqual(await mode(runtime, undefined), '0')
    strictEqual(await mode(runtime, await profile(runtime, 'chmod')), '2')
  },
  async 'a profile of the host refuses what it names'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.secure({ seccomp: await profile(runtime, 'chmod', 'fchmodat') })
    match((await pod.result(id, 'chmod', '400', '/')).stderr, /Operation not permitted/)
  },
  async 'a profile that is not there is refused'(runtime) {
    await using pod = await openPod(runtime)
    const localhostRef = join(runtime.folder, 'no-such.json')
    await rejects(pod.secure({ seccomp: { profileType: Localhost, localhostRef } }))
  },
  async 'unconfined with SYS_ADMIN may set the host name'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.secure({ seccomp: { profileType: Unconfined }, capabilities })
    await pod.output(id, ...setHostname)
  },
  async 'a profile refuses it in spite of SYS_ADMIN'(runtime) {
    await using pod = await openPod(runtime)
    const id = await pod.secure({ seccomp: await profile(runtime, 'sethostname'), capabilities })
    match((await pod.result(id, ...setHostname)).stderr, /Operation not permitted/)
  },
  async 'a privileged container has no filter, whatever is asked'(runtime) {
    await using pod = await openPod(runtime, { linux: { securityContext: { privileged: true } } })
    const id = await pod.secure({ seccomp: await profile(runtime, 'sethostname'), privileged: true })
    await pod.output(id, ...setHostname)
  },
}
