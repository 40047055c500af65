// File systems of devices that a pod is given: found out, made where there is none, checked, and mounted. What is there already is
// never made anew.
import { type ExecFileException, execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { mountSlowly } from '@nodelet/linux'
import { hasCode } from '../errors.ts'
import type { Logger } from '../log.ts'

export interface FormatOptions {
  device: string
  target: string
  /** Empty: as the device has it, else ext4. */
  fsType: string
  /** Words of mount; with `ro` nothing is written to the device. */
  options: readonly string[]
  log: Logger
}

export type MountErrorKind =
  'UnformattedReadOnly' | 'HasFilesystemErrors' | 'FilesystemMismatch' | 'FormatFailed' | 'Unknown'

/** A device that could not be mounted. */
export class DeviceMountError extends Error {
  override readonly name = 'DeviceMountError'
  readonly kind: MountErrorKind

  constructor(kind: MountErrorKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.kind = kind
  }
}

/** What is on a device is neither nothing nor one file system. */
export const unknownData = 'unknown data, probably partitions'

/** What blkid found, from `-o export`: a type, `unknownData`, or undefined for a blank device. Pure. */
export function foundOn(output: string): string | undefined {
  const values = new Map(
    output.split('\n').flatMap((line) => {
      const at = line.indexOf('=')
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1).trim()]]
    }),
  )
  if (values.get('PTTYPE')) return unknownData
  return values.get('TYPE') || undefined
}

export interface FormatPlan {
  /** What the device is mounted as. */
  fsType: string
  /** What makes its file system; undefined: it has something. */
  format?: { program: string; words: string[] }
  /** Whether the file system is checked before it is mounted. */
  isChecked: boolean
}

/** Pure. @throws DeviceMountError UnformattedReadOnly */
export function formatPlan(
  found: string | undefined,
  { device, fsType, isReadOnly }: { device: string; fsType: string; isReadOnly: boolean },
): FormatPlan {
  if (found !== undefined) {
    return { fsType: fsType || (found === unknownData ? 'ext4' : found), isChecked: !isReadOnly }
  }
  if (isReadOnly) {
    throw new DeviceMountError(
      'UnformattedReadOnly',
      `cannot mount unformatted disk ${device} as we are manipulating it in read-only mode`,
    )
  }
  const wanted = fsType || 'ext4'
  if (!/^[a-z][a-z0-9]*$/.test(wanted))
    throw new DeviceMountError('FormatFailed', `fsType ${JSON.stringify(wanted)} is no file system`)
  const force = /^ext[34]$/.test(wanted) ? ['-F', '-m0'] : wanted === 'xfs' ? ['-f'] : []
  return { fsType: wanted, format: { program: `mkfs.${wanted}`, words: [...force, device] }, isChecked: false }
}

const run = promisify(execFile)
const language = { env: { ...process.env, LC_ALL: 'C' }, maxBuffer: 16 << 20 }

interface Outcome {
  /** Undefined: the program could not be run. */
  status: number | undefined
  output: string
  stdout: string
  message: string
}

/** Nobody ends what has begun: a device that is half written is a damaged one. */
async function outcome(program: string, words: readonly string[]): Promise<Outcome> {
  try {
    const { stdout, stderr } = await run(program, words, language)
    return { status: 0, output: stdout + stderr, stdout, message: '' }
  } catch (error) {
    const {
      code,
      stdout = '',
      stderr = '',
      message,
    } = error as ExecFileException & { stdout?: string; stderr?: string }
    const status = typeof code === 'number' ? code : undefined
    const failed = hasCode(error, 'ENOENT') ? `executable file not found in $PATH: ${program}` : message.split('\n')[0]
    return {
      status,
      output: stdout + stderr,
      stdout,
      message: status === undefined ? (failed ?? '') : `exit status ${status}`,
    }
  }
}

/** @throws DeviceMountError in the words of the Go kubelet; LinuxError */
export async function formatAndMount({ device, target, fsType, options, log }: FormatOptions): Promise<void> {
  const isReadOnly = options.includes('ro')
  const found = await probe(device)
  const plan = formatPlan(found, { device, fsType, isReadOnly })
  if (plan.format) await format(device, target, plan, plan.format, options)
  if (plan.isChecked) await check(device, log)
  const words = [...new Set(['defaults', ...options.toSorted()])]
  try {
    await mountSlowly({ source: device, target, type: plan.fsType, options: words })
  } catch (cause) {
    const isMismatch = found !== undefined && found !== plan.fsType
    const reason = (cause as Error).message
    throw new DeviceMountError(
      isMismatch ? 'FilesystemMismatch' : 'Unknown',
      isMismatch
        ? `failed to mount the volume as "${plan.fsType}", it already contains ${found}. Mount error: ${reason}`
        : reason,
      { cause },
    )
  }
}

/** @throws DeviceMountError when that cannot be known: then nothing is done to the device */
async function probe(device: string): Promise<string | undefined> {
  const { status, stdout, output, message } = await outcome('blkid', [
    '-p',
    '-s',
    'TYPE',
    '-s',
    'PTTYPE',
    '-o',
    'export',
    device,
  ])
  // So it says of a device without anything that it knows.
  if (status === 2) return undefined
  if (status === 0) return foundOn(stdout)
  throw new DeviceMountError('Unknown', `could not find out what is on ${device}: blkid: ${message}: ${output.trim()}`)
}

async function format(
  device: string,
  target: string,
  { fsType }: FormatPlan,
  { program, words }: NonNullable<FormatPlan['format']>,
  options: readonly string[],
): Promise<void> {
  await refuseBusy(device)
  const { status, output, message } = await outcome(program, words)
  if (status === 0) return
  const what = `format of disk "${device}" failed: type:("${fsType}") target:("${target}")`
  const quoted = options.map((option) => JSON.stringify(option)).join(' ')
  throw new DeviceMountError('FormatFailed', `${what} options:([${quoted}]) errcode:(${message}) output:(${output})`)
}

/** A blank device that somebody has to himself is not blank to him: a program that a killed kubelet left is at work on it, for one. */
async function refuseBusy(device: string): Promise<void> {
  try {
    await (await open(device, constants.O_RDONLY | constants.O_EXCL)).close()
  } catch (cause) {
    if (!hasCode(cause, 'EBUSY')) throw cause
    throw new DeviceMountError('FormatFailed', `disk ${device} is in use: it is not formatted`, { cause })
  }
}

/** fsck's exit status: 1 mended, 4 could not, more is a failure of the program. @throws DeviceMountError HasFilesystemErrors */
async function check(device: string, log: Logger): Promise<void> {
  const { status, output, message } = await outcome('fsck', ['-a', device])
  if (status === 0) return
  if (status === undefined)
    log.warn({ device, reason: message }, 'fsck is not here: the disk is mounted without a check')
  else if (status === 1) log.info({ device, output }, 'errors of a disk were found and corrected by fsck')
  else if (status === 4) {
    throw new DeviceMountError(
      'HasFilesystemErrors',
      `'fsck' found errors on device ${device} but could not correct them: ${output}`,
    )
  } else if (status > 4) log.warn({ device, status, output }, 'fsck failed: the disk is mounted without a check')
}
