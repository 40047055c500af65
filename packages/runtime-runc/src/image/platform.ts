// Which of an image's platforms this machine runs. @see containerd's platforms package
import { readFile } from 'node:fs/promises'

export interface Platform {
  architecture: string
  os: string
  variant?: string | undefined
}

type FullPlatform = Record<'os' | 'architecture' | 'variant', string>

const goArchitectures: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }

/** This machine's architecture as images name it. */
export const architecture: string = goArchitectures[process.arch] ?? process.arch

/** Other names of architectures, some of which say the variant too. */
const names: Record<string, [string, string?]> = {
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  i386: ['386'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
}
const defaultVariants: Record<string, string> = { arm64: 'v8', arm: 'v7', amd64: 'v1' }

/** One name for each platform: `arm64` is `arm64/v8`. */
export function normalise({ os, architecture: given, variant }: Platform): FullPlatform {
  const [name, own] = names[given.toLowerCase()] ?? [given.toLowerCase()]
  const said = variant?.toLowerCase().replace(/^(?=\d)/, 'v')
  return { os: os.toLowerCase(), architecture: name, variant: said || (own ?? defaultVariants[name] ?? '') }
}

/** What a machine runs, best first, as `architecture/variant`. */
function choices({ architecture: arch, variant }: FullPlatform): string[] {
  const downTo = (name: string, from: string, least: number): string[] => {
    const level = Number.parseInt(from.slice(1), 10)
    return Array.from({ length: Math.max(0, level - least + 1) }, (_, at) => `${name}/v${level - at}`)
  }
  if (arch === 'amd64') return [...downTo(arch, variant, 1), '386/']
  if (arch === 'arm64') return [...new Set([`arm64/${variant}`, 'arm64/v8', ...downTo('arm', 'v8', 5)])]
  return arch === 'arm' ? downTo(arch, variant, 5) : [`${arch}/${variant}`]
}

/** How well a machine runs a platform: 0 is best; undefined when it does not. */
export function rankOf(offered: Platform, machine: Platform): number | undefined {
  const { os, architecture: arch, variant } = normalise(offered)
  const own = normalise(machine)
  const rank = os === own.os ? choices(own).indexOf(`${arch}/${variant}`) : -1
  return rank < 0 ? undefined : rank
}

/** For messages: `linux/arm/v7`. */
export const printPlatform = ({ os, architecture: arch, variant }: Platform): string =>
  [os, arch, variant].filter(Boolean).join('/')

/** What each level of amd64 adds, by the names of /proc/cpuinfo. @see x86-64 psABI, micro-architecture levels */
const levels = [
  ['cx16', 'lahf_lm', 'popcnt', 'pni', 'sse4_1', 'sse4_2', 'ssse3'],
  ['avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe', 'xsave'],
  ['avx512f', 'avx512bw', 'avx512cd', 'avx512dq', 'avx512vl'],
]

/** The variant of a processor, from the text of /proc/cpuinfo; undefined: the architecture's least. */
export function variantOf(arch: string, cpuinfo: string): string | undefined {
  if (arch === 'arm') {
    const level = /^CPU architecture\s*:\s*(\d+)/m.exec(cpuinfo)?.[1]
    return level === undefined ? undefined : `v${Math.min(Number(level), 8)}`
  }
  if (arch !== 'amd64') return undefined
  const flags = new Set(/^flags\s*:\s*(.*)$/m.exec(cpuinfo)?.[1]?.split(/\s+/))
  const missing = levels.findIndex((level) => !level.every((flag) => flags.has(flag)))
  return `v${missing < 0 ? levels.length + 1 : missing + 1}`
}

/** The platform of this machine. */
export async function readPlatform(): Promise<Platform> {
  const cpuinfo = await readFile('/proc/cpuinfo', 'utf8').catch(() => '') // without it the least is believed
  return { os: 'linux', architecture, variant: variantOf(architecture, cpuinfo) }
}
