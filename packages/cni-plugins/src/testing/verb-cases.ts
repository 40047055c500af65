// What a plugin must do.
import { deepStrictEqual } from 'node:assert/strict'
import { isBefore } from '../libcni/versions.ts'
import { toVersion } from '../libcni/print-result.ts'
import { added, failed, newestOf, podOf, silent, speaks } from './subject.ts'
import type { Cases, Pod, PluginUnderTest } from './subject.ts'

/** A pod that was added, in the newest version that the plugin speaks. */
async function addedPod(subject: PluginUnderTest, netns: string, version = newestOf(subject)): Promise<Pod> {
  const pod = podOf(subject, netns)
  const result = added(await subject.run({ ...pod.env, CNI_COMMAND: 'ADD' }, pod.config(version)), version)
  const more = isBefore(version, '0.4.0') ? {} : { prevResult: toVersion(result, version) }
  return { env: pod.env, config: (cniVersion, rest) => pod.config(cniVersion, { ...more, ...rest }) }
}

const del = async (subject: PluginUnderTest, { env, config }: Pod, more: object = {}): Promise<void> =>
  silent(await subject.run({ ...env, CNI_COMMAND: 'DEL' }, config(newestOf(subject), more)))

/** Runs the case with a namespace; afterwards all must be as before. */
async function withPod(subject: PluginUnderTest, work: (netns: string) => Promise<void>): Promise<void> {
  const before = await subject.left?.()
  using netns = await subject.netns()
  await work(netns.path)
  deepStrictEqual(await subject.left?.(), before)
}

const withoutResult = { prevResult: undefined }

export const verbCases: Cases = {
  async 'ADD and DEL work in every version, with results of that version'(subject) {
    for (const version of subject.versions) {
      await withPod(subject, async (netns) => {
        const pod = await addedPod(subject, netns, version)
        silent(await subject.run({ ...pod.env, CNI_COMMAND: 'DEL' }, pod.config(version)))
      })
    }
  },
  async 'DEL may come twice, and without an ADD'(subject) {
    await withPod(subject, async (netns) => {
      await del(subject, podOf(subject, netns))
      const pod = await addedPod(subject, netns)
      await del(subject, pod)
      await del(subject, pod)
      await del(subject, await addedPod(subject, netns))
    })
  },
  async 'DEL works without the result of ADD'(subject) {
    await withPod(subject, async (netns) => {
      const pod = await addedPod(subject, netns)
      await del(subject, pod, withoutResult)
      await del(subject, pod, withoutResult)
    })
  },
  async 'DEL works without a namespace, and with one that is gone'(subject) {
    for (const CNI_NETNS of ['', '/nonexistent/netns']) {
      await withPod(subject, async (netns) => {
        const pod = await addedPod(subject, netns)
        await del(subject, { ...pod, env: { ...pod.env, CNI_NETNS } })
        await del(subject, pod)
      })
    }
  },
  async 'CHECK is content after ADD, and prints nothing'(subject) {
    if (!speaks(subject, '0.4.0')) return
    await withPod(subject, async (netns) => {
      const pod = await addedPod(subject, netns)
      silent(await subject.run({ ...pod.env, CNI_COMMAND: 'CHECK' }, pod.config(newestOf(subject))))
      await del(subject, pod)
    })
  },
  async 'GC keeps what is valid, removes the rest, and may come twice'(subject) {
    if (!speaks(subject, '1.1.0')) return
    const { cniPath } = subject
    const gc = async (pods: readonly Pod[]): Promise<void> => {
      const attachments = pods.map(({ env }) => ({ containerID: env['CNI_CONTAINERID'], ifname: env['CNI_IFNAME'] }))
      const input = podOf(subject, '').config('1.1.0', {
        ...withoutResult,
        'cni.dev/valid-attachments': attachments,
        'cni.dev/attachments': attachments,
      })
      silent(await subject.run({ CNI_COMMAND: 'GC', CNI_PATH: cniPath }, input))
    }
    await withPod(subject, async (netns) => {
      await gc([])
      const pod = await addedPod(subject, netns)
      const held = await subject.left?.()
      await gc([pod])
      deepStrictEqual(await subject.left?.(), held)
      silent(await subject.run({ ...pod.env, CNI_COMMAND: 'CHECK' }, pod.config('1.1.0')))
      await gc([])
      await gc([])
      await del(subject, pod)
    })
  },
  async 'GC without a list of what is valid removes nothing'(subject) {
    if (!speaks(subject, '1.1.0')) return
    const input = podOf(subject, '').config('1.1.0', withoutResult)
    failed(await subject.run({ CNI_COMMAND: 'GC', CNI_PATH: subject.cniPath }, input), 7)
  },
  async 'STATUS is ready, and prints nothing'(subject) {
    if (!speaks(subject, '1.1.0')) return
    const input = podOf(subject, '').config('1.1.0', withoutResult)
    silent(await subject.run({ CNI_COMMAND: 'STATUS', CNI_PATH: subject.cniPath }, input))
  },
  async 'pods that come and go at the same time do not meet'(subject) {
    if (subject.isExclusive) return
    const before = await subject.left?.()
    using one = await subject.netns()
    using two = await subject.netns()
    const pods = await Promise.all([addedPod(subject, one.path), addedPod(subject, two.path)])
    await Promise.all(pods.map(async (pod) => del(subject, pod)))
    deepStrictEqual(await subject.left?.(), before)
  },
}
