// The machine's facts.
import { access, readFile, writeFile } from 'node:fs/promises'
import { release } from 'node:os'
import { readMountInfo, startProgram } from '@nodelet/linux'
import { capabilitiesOfMask } from '../capabilities.ts'
import type { HostFacts } from '../spec/facts.ts'
import { hasApparmor, loadDefaultProfile } from './apparmor.ts'

const GO_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }

/** Looks up what specs depend on. Once per start is enough. */
export async function readHostFacts(): Promise<HostFacts> {
  const [major = 0, minor = 0] = release().split('.').map(Number.parseFloat)
  const cgroupVersion = (await exists('/sys/fs/cgroup/cgroup.controllers')) ? 2 : 1
  const status = await readFile('/proc/self/status', 'utf8')
  const oomScoreAdj = Number(await readFile('/proc/self/oom_score_adj', 'utf8'))
  const apparmor = await hasApparmor()
  const profile = apparmor ? await apparmorDefault() : undefined
  return {
    arch: GO_ARCH[process.arch] ?? process.arch,
    kernel: [major, minor],
    cgroupVersion,
    cgroupOptions: cgroupVersion === 2 ? await cgroupOptions() : [],
    hugetlb: await hasHugetlb(cgroupVersion),
    swapLimit: await hasSwapLimit(cgroupVersion),
    capabilities: capabilitiesOfMask(/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'),
    oomScoreAdj,
    canLowerOomScore: oomScoreAdj <= -1000 || (await canLowerOomScore(oomScoreAdj)),
    seccomp: await exists('/proc/sys/kernel/seccomp/actions_avail'),
    apparmor,
    ...(profile === undefined ? {} : { apparmorDefault: profile }),
  }
}

/** Tried on a child that is thrown away: capabilities do not tell, as they may be those of a user namespace. */
async function canLowerOomScore(own: number): Promise<boolean> {
  const child = startProgram('sleep', ['10'])
  try {
    await writeFile(`/proc/${child.pid}/oom_score_adj`, String(own - 1))
    return true
  } catch {
    return false // the kernel's refusal is the answer
  } finally {
    child.kill('SIGKILL')
    await child.ended
  }
}

async function hasSwapLimit(version: 1 | 2): Promise<boolean> {
  if (version === 1) return exists('/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes')
  const own = /^0::(.*)$/m.exec(await readFile('/proc/self/cgroup', 'utf8'))?.[1] ?? '/'
  return exists(`/sys/fs/cgroup${own}/memory.swap.max`)
}

async function cgroupOptions(): Promise<string[]> {
  const mount = (await readMountInfo()).find(({ mountPoint }) => mountPoint === '/sys/fs/cgroup')
  return ['nsdelegate', 'memory_recursiveprot'].filter((option) => mount?.superOptions.includes(option))
}

async function hasHugetlb(version: 1 | 2): Promise<boolean> {
  if (version === 1) return exists('/sys/fs/cgroup/hugetlb')
  return (await readFile('/sys/fs/cgroup/cgroup.controllers', 'utf8')).trim().split(' ').includes('hugetlb')
}

/** A profile that cannot be loaded is told of only to who asks for it. */
async function apparmorDefault(): Promise<string | undefined> {
  try {
    return await loadDefaultProfile()
  } catch (error) {
    process.emitWarning(`containers have no AppArmor profile: ${(error as Error).message}`)
    return undefined
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch {
    return false // not there, or not for us: either way the feature cannot be used
  }
}
