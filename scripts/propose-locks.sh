#!/usr/bin/env bash
# Propose what `make lock` changed as a pull request, or renew the one that is open.
#
#   scripts/propose-locks.sh [--dry-run]
#
# Needs gh with GH_TOKEN, and the right to push. Nothing changed: nothing is done. A pull request that
# a pipeline's own token opened starts no checks, so they are started for its branch. --dry-run prints
# the pins that changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

branch=dependencies/locks

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

dry=
case "${1:-}" in
  "") ;;
  -h | --help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//p;}' scripts/propose-locks.sh
    exit 0
    ;;
  --dry-run) dry=yes ;;
  *) fail "unknown argument: $1" "scripts/propose-locks.sh --help says what there is" 2 ;;
esac

locks=(requirements.lock locks)
pins() {
  git diff --unified=0 -- "${locks[@]}" | sed -n 's/^\([-+]\)\([A-Za-z0-9._-]*==[^ ;]*\).*/\1 \2/p' | sort -k 2 -u
}

if git diff --quiet -- "${locks[@]}"; then
  echo "the locks are the newest"
  exit 0
fi
changed=$(pins)
if [[ -n $dry ]]; then
  printf '%s\n' "$changed"
  exit 0
fi
command -v gh >/dev/null || fail "gh is not installed" "https://cli.github.com tells how"

fence='```'
text=$(printf 'Resolved anew by make lock.\n\n%s\n%s\n%s\n' "${fence}diff" "$changed" "$fence")
# A pipeline has no author of its own, and its checkout keeps no credentials: gh lends git the token.
if [[ -z $(git config user.email) ]]; then
  export GIT_AUTHOR_NAME="${GITHUB_ACTOR:-fedrisk}" GIT_AUTHOR_EMAIL="${GITHUB_ACTOR:-fedrisk}@users.noreply.github.com"
  export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
fi
gh auth setup-git
git switch --quiet --force-create "$branch"
git add -- "${locks[@]}"
git commit --quiet --message "Refresh the locks" --message "Resolved anew by make lock."
git push --quiet --force origin "$branch"
if [[ -n $(gh pr list --head "$branch" --state open --json number --jq '.[].number') ]]; then
  gh pr edit "$branch" --body "$text"
else
  gh pr create --head "$branch" --title "Refresh the locks" --body "$text"
fi
gh workflow run mlops-ci-cd.yml --ref "$branch"
