// What is mounted, from /proc/PID/mountinfo.
import { readFile } from 'node:fs/promises'

/** One line of mountinfo. @see proc_pid_mountinfo(5) */
export interface MountInfo {
  id: number
  parentId: number
  major: number
  minor: number
  /** The folder of the file system that is mounted. */
  root: string
  mountPoint: string
  options: string[]
  /** Propagation: `shared:N`, `master:N`, `propagate_from:N`, `unbindable`. */
  optionalFields: string[]
  type: string
  source: string
  superOptions: string[]
}

/** @throws SyntaxError naming the line that is not one of mountinfo */
export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine)
}

function parseLine(line: string): MountInfo {
  const fields = line.split(' ')
  const end = fields.indexOf('-', 6)
  const [id, parentId, device = '', root, mountPoint, options] = fields
  const [type, source, superOptions] = fields.slice(end + 1)
  const [major, minor] = device.split(':').map(Number)
  const numbers = [Number(id), Number(parentId), major, minor]
  if (end < 0 || superOptions === undefined || !numbers.every((number) => Number.isInteger(number))) {
    throw new SyntaxError(`not a line of mountinfo: ${JSON.stringify(line)}`)
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    major: major ?? 0,
    minor: minor ?? 0,
    root: unescape(root ?? ''),
    mountPoint: unescape(mountPoint ?? ''),
    options: (options ?? '').split(','),
    optionalFields: fields.slice(6, end),
    type: unescape(type ?? ''),
    source: unescape(source ?? ''),
    superOptions: superOptions.split(','),
  }
}

/** The kernel writes blanks, newlines and backslashes as three octal digits of a byte. */
function unescape(field: string): string {
  return field.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/**
 * The mounts that a process sees, in the order in which they were made.
 *
 * @param below only those at and below this path, which costs less where many are mounted
 */
export async function readMountInfo(
  pid: number | 'self' = 'self',
  { below }: { below?: string } = {},
): Promise<MountInfo[]> {
  const text = await readFile(`/proc/${pid}/mountinfo`, 'utf8')
  if (below === undefined) return parseMountInfo(text)
  const start = escape(below)
  if (!text.includes(` ${start}`)) return []
  return text
    .split('\n')
    .filter((line) => line.includes(` ${start}`))
    .map(parseLine)
    .filter(({ mountPoint }) => mountPoint === below || mountPoint.startsWith(`${below}/`))
}

const escape = (path: string): string =>
  path.replace(/[ \t\n\\]/g, (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`)
