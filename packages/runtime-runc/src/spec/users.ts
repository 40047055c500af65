// Who the process runs as: names and numbers resolved by the rootfs's own passwd and group files.
import { SupplementalGroupsPolicy } from '@nodelet/cri-api'
import type { LinuxContainerSecurityContext } from '@nodelet/cri-api'
import { SpecError } from './errors.ts'

const MAX_ID = 2_147_483_647

/** The numbers that go into the spec. `additionalGids` contains `gid`. */
export interface ResolvedUser {
  uid: number
  gid: number
  additionalGids: number[]
}

interface Passwd {
  name: string
  uid: number
  gid: number
}

interface Group {
  name: string
  gid: number
  members: string[]
}

type UserContext = Pick<
  LinuxContainerSecurityContext,
  'runAsUser' | 'runAsGroup' | 'runAsUsername' | 'supplementalGroups' | 'supplementalGroupsPolicy'
>

/**
 * Resolves `run_as_username`, else `run_as_user`, else the image's `user[:group]`, else 0.
 * `passwd` and `group` are the files' text, empty when the rootfs has none.
 *
 * @throws SpecError for an unknown name, a number out of range, or a group without a user.
 */
export function resolveUser(
  security: UserContext | undefined,
  imageUser: string,
  passwd: string,
  group: string,
): ResolvedUser {
  const users = parsePasswd(passwd)
  const groups = parseGroup(group)
  const [userPart, groupPart] = userAndGroup(security, imageUser)
  const user = findUser(userPart, users)
  const gid = groupPart === '' ? user.gid : findGroup(groupPart, groups)
  return { uid: user.uid, gid, additionalGids: additionalGids(security, user.name, gid, groups) }
}

function userAndGroup(security: UserContext | undefined, imageUser: string): [string, string] {
  const asked = security?.runAsUsername || security?.runAsUser?.value.toString() || ''
  const group = security?.runAsGroup?.value.toString() ?? ''
  if (asked) return [asked, group]
  if (group) throw new SpecError(`user group "${group}" is specified without user: set run_as_user too`)
  const [user = '', imageGroup = ''] = imageUser.split(':', 2)
  return [user || '0', imageGroup]
}

function findUser(part: string, users: readonly Passwd[]): { uid: number; gid: number; name: string } {
  const uid = numeric(part, 'user')
  const entry = users.find((user) => (uid === undefined ? user.name === part : user.uid === uid))
  if (entry) return entry
  if (uid === undefined) {
    throw new SpecError(`no users found: user "${part}" is not in the image's /etc/passwd; use a number or add it`)
  }
  return { uid, gid: 0, name: '' }
}

function findGroup(part: string, groups: readonly Group[]): number {
  const entry = numeric(part, 'group') ?? groups.find((group) => group.name === part)?.gid
  if (entry === undefined) {
    throw new SpecError(`no groups found: group "${part}" is not in the image's /etc/group; use a number or add it`)
  }
  return entry
}

function additionalGids(
  security: UserContext | undefined,
  userName: string,
  gid: number,
  groups: readonly Group[],
): number[] {
  const policy = security?.supplementalGroupsPolicy ?? SupplementalGroupsPolicy.Merge
  if (policy !== SupplementalGroupsPolicy.Merge && policy !== SupplementalGroupsPolicy.Strict) {
    throw new SpecError(`supplemental groups policy ${policy} is unknown: use Merge or Strict`)
  }
  const gids = new Set((security?.supplementalGroups ?? []).map((value) => checkId(Number(value), 'group')))
  if (policy === SupplementalGroupsPolicy.Merge && userName) {
    for (const group of groups) {
      if (group.name !== userName && group.members.includes(userName)) gids.add(group.gid)
    }
  }
  const sorted = [...gids].toSorted((a, b) => a - b)
  // Without the primary group here, group permissions that deny could be escaped (CVE-2022-2989).
  return gids.has(gid) ? sorted : [gid, ...sorted]
}

function numeric(text: string, kind: string): number | undefined {
  return /^-?\d+$/.test(text) ? checkId(Number(text), kind) : undefined
}

function checkId(id: number, kind: string): number {
  if (id < 0 || id > MAX_ID) throw new SpecError(`${kind} ${id} is out of range: it must be between 0 and ${MAX_ID}`)
  return id
}

function parsePasswd(text: string): Passwd[] {
  return rows(text).flatMap(([name, , uid, gid]) =>
    name && isId(uid) && isId(gid) ? [{ name, uid: Number(uid), gid: Number(gid) }] : [],
  )
}

function parseGroup(text: string): Group[] {
  return rows(text).flatMap(([name, , gid, members]) =>
    name && isId(gid) ? [{ name, gid: Number(gid), members: (members ?? '').split(',').filter(Boolean) }] : [],
  )
}

/** Malformed lines give rows that the parsers skip, as libc does. */
function rows(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith('#'))
    .map((line) => line.split(':'))
}

function isId(text: string | undefined): boolean {
  return text !== undefined && /^\d+$/.test(text) && Number(text) <= MAX_ID
}
