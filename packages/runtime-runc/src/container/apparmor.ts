// The host's AppArmor: what is loaded, and the profile of containers that ask for none.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execFile, findProgram } from '../exec-file.ts'
import { readText } from '../files.ts'

/** The name of the profile that `defaultProfile` is. */
export const DEFAULT_PROFILE = 'nodelet-default'

/** Whether the kernel enforces profiles. */
export async function hasApparmor(): Promise<boolean> {
  return (await readText('/sys/module/apparmor/parameters/enabled'))?.startsWith('Y') ?? false
}

/** The names of the profiles that are loaded now. */
export async function loadedProfiles(): Promise<string[]> {
  return profileNames((await readText('/sys/kernel/security/apparmor/profiles')) ?? '')
}

/** Of the kernel's list, lines as `NAME (MODE)`. */
export function profileNames(text: string): string[] {
  return text.split('\n').flatMap((line) => /^(.*) \(\w+\)$/.exec(line)?.[1] ?? [])
}

/**
 * All files, networks and capabilities that the container has anyway; no mounts, no settings of the kernel, no traces of
 * processes outside. It includes no other file, so that it loads on any machine that has the parser.
 */
export function defaultProfile(name: string = DEFAULT_PROFILE): string {
  const denied = [
    // All but kernel/shm*, kernel/msg* and kernel/sem*, which are the pod's own.
    '/proc/sys/[^k]** wklx',
    '/proc/sys/kernel/{[^sm],s[^he],se[^m],sh[^m],m[^s],ms[^g]}** wklx',
    '/proc/{sysrq-trigger,mem,kmem,kcore} rwklx',
    '/proc/{acpi,bus,fs,irq}/** wklx',
    '/sys/{firmware,kernel/security}/** rwklx',
    // All but fs/cgroup.
    '/sys/{[^f],f[^s],fs/[^c]}** wklx',
  ]
  const rules = [
    'network',
    'capability',
    'file',
    'unix',
    'umount',
    'signal receive peer=unconfined',
    'signal receive peer={runc,crun,conmon}',
    `signal (send, receive) peer=${name}`,
    `ptrace (trace, read, tracedby, readby) peer=${name}`,
    'deny mount',
    ...denied.map((rule) => `deny ${rule}`),
  ]
  return `profile ${name} flags=(attach_disconnected,mediate_deleted) {\n${rules.map((rule) => `  ${rule},\n`).join('')}}\n`
}

/**
 * Loads the default profile unless it is there; a newer one takes the place of an older with the next boot.
 *
 * @throws Error when the parser is not there or refuses.
 */
export async function loadDefaultProfile(): Promise<string> {
  if ((await loadedProfiles()).includes(DEFAULT_PROFILE)) return DEFAULT_PROFILE
  await parseProfile(defaultProfile(), ['-Kr'])
  return DEFAULT_PROFILE
}

/** Gives a profile to apparmor_parser. @throws Error with what it says */
export async function parseProfile(text: string, flags: readonly string[]): Promise<void> {
  const parser = await findProgram('apparmor_parser')
  const folder = await mkdtemp(join(tmpdir(), 'apparmor-'))
  try {
    const file = join(folder, 'profile')
    await writeFile(file, text)
    const { code, stderr } = await execFile(parser, [...flags, file], AbortSignal.timeout(30_000))
    if (code !== 0) throw new Error(`${parser} ${flags.join(' ')}: ${stderr.trim()}`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
